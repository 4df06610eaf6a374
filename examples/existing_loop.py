"""Fair weights in a training loop that is there already: plain PyTorch, and Lightning.

Two tasks share an encoder, a classification and a regression. An epoch is a round. Where Lightning
is installed it trains the same network, to the same numbers.
"""

import importlib.util

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from owo_agents.scalarizer import DualScalarizer

EPOCHS = 3

draw = torch.Generator().manual_seed(0)
x = torch.randn(512, 8, generator=draw)
y = torch.tanh(x @ torch.randn(8, 2, generator=draw))
loader = DataLoader(TensorDataset(x, (y[:, 0] > 0).long(), 20 * y[:, 1]), batch_size=32)


class Network(nn.Module):
    """An encoder and two heads; it gives a list of losses."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(8, 16), nn.Tanh())
        self.classes, self.number = nn.Linear(16, 2), nn.Linear(16, 1)

    def forward(self, x, label, number):
        shared = self.encoder(x)
        return [
            F.cross_entropy(self.classes(shared), label),
            F.mse_loss(self.number(shared).squeeze(1), number),
        ]


def fresh():
    """The network, and the weights: each loss in its own scale."""
    torch.manual_seed(0)
    cost = torch.tensor([0.69, float((20 * y[:, 1]).var())])  # of a constant answer: ln 2, variance
    bounds = cost / 2, 1.5 * cost
    return Network(), DualScalarizer(2, max_loss=1.5 * cost, utility_bounds=bounds)


def plain():
    network, weigh = fresh()
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    for _ in range(EPOCHS):
        weigh.reset()  # a round begins
        for batch in loader:
            losses = network(*batch)
            optimizer.zero_grad()
            weigh(losses).backward()
            optimizer.step()
            weigh.update(losses)
    return network, weigh


def in_lightning():
    import lightning

    class Lit(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.network, self.weigh = fresh()  # a module: it is moved and saved with the rest

        def on_train_epoch_start(self):
            self.weigh.reset()

        def training_step(self, batch, index):
            losses = self.network(*batch)
            total = self.weigh(losses)
            self.weigh.update(
                losses
            )  # before backward: the sum keeps the priorities it was made of
            return total

        def configure_optimizers(self):
            return torch.optim.Adam(self.network.parameters(), lr=0.01)

    lit, off = (
        Lit(),
        ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"),
    )
    trainer = lightning.Trainer(max_epochs=EPOCHS, accelerator="cpu", **dict.fromkeys(off, False))
    trainer.fit(lit, loader)
    return lit.network, lit.weigh


network, weigh = plain()
print(
    "plain PyTorch:", [f"{float(loss.detach()):.4f}" for loss in network(*loader.dataset.tensors)]
)
print("priorities:", weigh.priorities.tolist())
if importlib.util.find_spec("lightning") is not None:
    other, same = in_lightning()
    for p, q in zip(network.parameters(), other.parameters()):
        torch.testing.assert_close(q, p)
    torch.testing.assert_close(same.priorities, weigh.priorities)
    print("Lightning gives the same")
