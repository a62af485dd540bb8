"""Weight files of five model zoos, read without their frameworks."""

from jaxcnn._namespace import close_namespace as _close_namespace
from jaxcnn.zoo.checkpoint import Checkpoint as Checkpoint
from jaxcnn.zoo.checkpoint import FormatError as FormatError
from jaxcnn.zoo.download.downloads import cached as cached
from jaxcnn.zoo.download.downloads import download as download
from jaxcnn.zoo.download.transfers import DownloadError as DownloadError
from jaxcnn.zoo.filling import fill as fill
from jaxcnn.zoo.loading import load as load
from jaxcnn.zoo.pretrained import Pretrained as Pretrained
from jaxcnn.zoo.reading import read as read
from jaxcnn.zoo.records.label_sets import labels as labels
from jaxcnn.zoo.records.weight_records import Accuracy as Accuracy
from jaxcnn.zoo.records.weight_records import Preprocessing as Preprocessing
from jaxcnn.zoo.records.weight_records import Record as Record
from jaxcnn.zoo.records.weight_records import record as record
from jaxcnn.zoo.records.weight_records import records as records
from jaxcnn.zoo.saving import convert as convert
from jaxcnn.zoo.saving import save as save

_close_namespace(__name__)
