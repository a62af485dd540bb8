"""What tests of the command line have in common."""

from jaxcnn.cli import main


def refused(capsys, *arguments, code=2):
    """Code 2, nothing on standard output, one line on standard error, which is returned."""
    assert main([str(a) for a in arguments]) == code
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1 and "Traceback" not in said.err
    return said.err
