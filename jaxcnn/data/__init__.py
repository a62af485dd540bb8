"""Images and labels: built-in digits, distorted digits drawn on the device, readers of files, host batches."""

from jaxcnn._namespace import close_namespace as _close_namespace
from jaxcnn.data.builtin import digits as digits
from jaxcnn.data.folder import ImageFolder as ImageFolder
from jaxcnn.data.folder import image_folder as image_folder
from jaxcnn.data.generator import Generator as Generator
from jaxcnn.data.generator import Stream as Stream
from jaxcnn.data.generator import distorted as distorted
from jaxcnn.data.idx import mnist as mnist
from jaxcnn.data.idx import read_idx as read_idx
from jaxcnn.data.loader import Loader as Loader
from jaxcnn.data.npz import read_npz as read_npz
from jaxcnn.data.pictures import read_digit as read_digit
from jaxcnn.data.prepared import PreparedSource as PreparedSource
from jaxcnn.data.prepared import tfds_source as tfds_source
from jaxcnn.data.transfer import Prefetched as Prefetched
from jaxcnn.data.transfer import PrefetchedByStep as PrefetchedByStep
from jaxcnn.data.transfer import prefetch as prefetch

_close_namespace(__name__)
