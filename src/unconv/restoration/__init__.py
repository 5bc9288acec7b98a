"""Images restored with the priors that people use: total variation, sparsity, denoisers, counts."""

from .certificate import Restoration, RestorationCertificate, Step
from .count_restoration import RichardsonLucyResult, richardson_lucy
from .path import restoration_path
from .plug_and_play import Schedule
from .sliding_dct import sliding_dct
from .solve import restore

__all__ = [
    "Restoration",
    "RestorationCertificate",
    "RichardsonLucyResult",
    "Schedule",
    "Step",
    "restoration_path",
    "restore",
    "richardson_lucy",
    "sliding_dct",
]
