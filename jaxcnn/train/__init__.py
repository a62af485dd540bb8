"""Training: pure steps, a loop that survives being killed, ensembles, freezing."""

from jaxcnn._namespace import close_namespace as _close_namespace
from jaxcnn.train.ensemble import fit_ensemble as fit_ensemble
from jaxcnn.train.fitting import fit as fit
from jaxcnn.train.freezing import freeze as freeze
from jaxcnn.train.history import read_history as read_history
from jaxcnn.train.loading import load_model as load_model
from jaxcnn.train.loading import load_variables as load_variables
from jaxcnn.train.pretrained import load_run as _load_run
from jaxcnn.train.result import Result as Result
from jaxcnn.train.run_folder import ExperimentInfo as ExperimentInfo
from jaxcnn.train.run_folder import RunInfo as RunInfo
from jaxcnn.train.run_folder import read_run as read_run
from jaxcnn.train.state import State as State
from jaxcnn.train.state import create_state as create_state
from jaxcnn.train.statistics import update_batch_stats as update_batch_stats
from jaxcnn.train.step import make_eval_step as make_eval_step
from jaxcnn.train.step import make_train_step as make_train_step
from jaxcnn.train.stopping import NonFiniteLossError as NonFiniteLossError
from jaxcnn.zoo.loading import register_loader as _register_loader

_register_loader(_load_run)
_close_namespace(__name__)
