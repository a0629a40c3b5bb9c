"""The views of the page, in the order in which they are offered."""

from experiments.dashboard.views.blocks import BLOCKS
from experiments.dashboard.views.breakdown import BREAKDOWN
from experiments.dashboard.views.compare import COMPARE
from experiments.dashboard.views.live import LIVE
from experiments.dashboard.views.samples import SAMPLES
from experiments.dashboard.views.tradeoff import TRADEOFF
from experiments.dashboard.views.training import TRAINING
from experiments.dashboard.views.view import View

VIEWS: dict[str, View] = {
    view.key: view for view in (TRADEOFF, BLOCKS, BREAKDOWN, SAMPLES, TRAINING, LIVE, COMPARE)
}
