"""Plots of experiments, and one self-contained HTML page."""

from jaxcnn._namespace import close_namespace as _close_namespace
from jaxcnn.report.network_drawing import network_svg as network_svg
from jaxcnn.report.page import figure_html as figure_html
from jaxcnn.report.page import table_html as table_html
from jaxcnn.report.page import write_page as write_page
from jaxcnn.report.plots import confusion as confusion
from jaxcnn.report.plots import frames as frames
from jaxcnn.report.plots import learning_curves as learning_curves
from jaxcnn.report.plots import mistakes as mistakes
from jaxcnn.report.plots import predictions as predictions
from jaxcnn.report.style import png as png

_close_namespace(__name__)
