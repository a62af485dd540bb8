"""Weight files of five model zoos, read with none of their frameworks."""

from jaxcnn.zoo.checkpoint import Checkpoint as Checkpoint
from jaxcnn.zoo.checkpoint import FormatError as FormatError
from jaxcnn.zoo.downloads import cached as cached
from jaxcnn.zoo.downloads import download as download
from jaxcnn.zoo.filling import fill as fill
from jaxcnn.zoo.label_sets import labels as labels
from jaxcnn.zoo.reading import read as read
from jaxcnn.zoo.saving import convert as convert
from jaxcnn.zoo.saving import save as save
from jaxcnn.zoo.transfers import DownloadError as DownloadError
from jaxcnn.zoo.weight_records import Accuracy as Accuracy
from jaxcnn.zoo.weight_records import Preprocessing as Preprocessing
from jaxcnn.zoo.weight_records import Record as Record
from jaxcnn.zoo.weight_records import record as record
from jaxcnn.zoo.weight_records import records as records
