"""The command line: one file per group of commands."""

from jaxcnn.cli.app import main as main
