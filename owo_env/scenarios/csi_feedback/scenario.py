"""Users compress the channel that they measured on their street, and the server reconstructs it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from numpy.typing import NDArray
from torch import nn

from owo_env import checks
from owo_env.radio.channel import Grid
from owo_env.radio.site.file import load
from owo_env.scenarios.csi_feedback.model import FIGURES, decoder, encoder, nmse, sgcs
from owo_env.scenarios.csi_feedback.places import STEP, Places, Streets
from owo_env.scenarios.split_learning.scenario import SplitLearning
from owo_env.scenarios.split_learning.surroundings import seeded

SPLITS = ("label", "u")
CODES = (8, 64)


class CsiFeedback(SplitLearning):
    """Feedback of CSI by a two-sided model, on the streets of a ray-traced site.

    Each user has measured the channel from a row of antennas at the site's transmitter on some
    subcarriers and compresses it linearly to a few reals; the server reconstructs it by a small
    network (linear to 32, ReLU, linear). Utility is 1 − NMSE. A round has places of a user's
    street, 5 cm apart, none of them twice; 128 others are held out, and judge the model at the
    end of the round (``validation_loss``, ``validation_sgcs``).

    Channels are by angle and delay, as a 2-D DFT makes them, with the first path at delay 0, a
    random phase, and norm 4; there is no noise. Further arguments are :class:`SplitLearning`'s.

    Args:
        num_users: [users] K ≥ 2; by default 4, or as many as ``streets``.
        site: A site that comes with the package, or the path of a file that ``owo site`` made.
        streets: The users' streets by name, of which one may come more than once; by default the
            first K of the site that are long enough.
        shuffle: Whether users take each other's streets at random every round;
            ``info["user_class"]`` tells after a round who was where.
        split: ``"u"``: each user has an encoder of its own, and the server's model is the decoder.
            ``"label"``: one autoencoder for all, trained on channels that users send whole.
        code: [reals] Of a compressed channel, 8 to 64.
        bits: [bits] Of each of these reals, after tanh; None sends them as they are.
        antennas: At the transmitter, half a wavelength apart, facing where it looks.
        subcarriers: On which channels are measured.
        subcarrier_spacing_khz: Distance between them in kHz.
        stretch_m: How far users go along a street from its beginning, in m.
        held_out: Names of streets whose places judge every user, instead of those of its own.
        model_seed: Decides x_1, the server's model that every stream starts from.

    Attributes:
        streets: The users' streets, before any shuffle.
        places: Which places of them a task has.

    Raises:
        ValueError: A setting is outside its domain, an unknown site or street, more users than
            streets, or more jobs than places.
    """

    name: ClassVar[str] = "csi-feedback"
    figures = FIGURES
    air = ("user_class",)

    def __init__(
        self,
        num_users: int | None = None,
        site: str | Path = "munich",
        streets: Sequence[str] | None = None,
        shuffle: bool = True,
        split: str = "u",
        code: int = 16,
        bits: int | None = None,
        antennas: int = 16,
        subcarriers: int = 16,
        subcarrier_spacing_khz: float = 1250.0,
        stretch_m: float = 60.0,
        held_out: Sequence[str] = (),
        model_seed: int = 0,
        num_slots: int = 32,
        batch_size: int = 16,
        utility_bounds: tuple[float, float] = (0.4, 1.0),
        head_learning_rate: float = 0.15,
        weights_scale_heads: bool = False,
        feedback: str = "train",
        device: str = "cpu",
        wire: str | None = None,
    ) -> None:
        checks.one_of("split", split, SPLITS)
        code = checks.whole("code", code, low=CODES[0], high=CODES[1])
        bits = None if bits is None else checks.whole("bits", bits, low=1, high=16)
        antennas = checks.whole("antennas", antennas, low=1)
        metres = checks.number("stretch_m", stretch_m, low=STEP)
        khz = checks.number("subcarrier_spacing_khz", subcarrier_spacing_khz, low=0, open_low=True)
        found, count = load(site), checks.whole("subcarriers", subcarriers, low=1)
        grid = Grid(carrier=found.carrier, subcarriers=count, spacing=1e3 * khz)
        town = Streets(found, grid, antennas, metres)
        self.streets = town.chosen(num_users, streets)
        shuffle = checks.flag("shuffle", shuffle)
        judges = town.named("held_out", held_out, at_least=0)
        self.places = Places(town, self.streets, shuffle, judges, num_slots, batch_size)
        reals = 2 * antennas * subcarriers
        compress, restore = partial(encoder, reals, code, bits), partial(decoder, code, reals)
        with seeded(checks.whole("model_seed", model_seed, low=0)):
            shared = restore() if split == "u" else nn.Sequential(compress(), restore())
        super().__init__(
            encoder=shared,
            head=nn.Identity,
            front=compress if split == "u" else None,
            tasks=[partial(self.places.task, user) for user in range(len(self.streets))],
            loss=nmse,
            metrics={"sgcs": partial(sgcs, antennas)},
            l_max=1.0,
            num_slots=num_slots,
            batch_size=batch_size,
            utility_bounds=utility_bounds,
            head_learning_rate=head_learning_rate,
            weights_scale_heads=weights_scale_heads,
            feedback=feedback,
            device=device,
            wire=wire,
        )
        if not shuffle:
            self.user_classes = list(self.streets)

    @property
    def class_names(self) -> Sequence[str]:
        return list(dict.fromkeys(self.streets))

    def about(self, number: int, seed: int) -> Mapping[str, NDArray[Any]]:
        return {"user_class": self.places.streets(number, seed)}
