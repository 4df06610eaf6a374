"""The dual weights as a TorchJD scalarizer: the same priorities, in anybody's PyTorch loop."""

import numpy as np
import pytest

import owo_env
from owo_agents.learner.weighting import Dual

torch = pytest.importorskip("torch")
pytest.importorskip("torchjd")

from torchjd import Stateful  # noqa: E402
from torchjd.scalarization import Scalarizer  # noqa: E402

from owo_agents.scalarizer import DualScalarizer  # noqa: E402


def scalarizer(alpha=1.0, shape=3):
    return DualScalarizer(shape, max_loss=2.5, utility_bounds=(1.0, 3.0), alpha=alpha)


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0, 2.0])
def test_priorities_are_those_of_the_agent(alpha):
    problem = owo_env.Problem(
        num_users=3,
        dim=1,
        num_slots=5,
        alpha=alpha,
        utility_bounds=(1.0, 3.0),
        initial_model=np.zeros(1),
    )
    dual, ours = Dual(problem), scalarizer(alpha).double()
    ours.reset()
    for _ in range(2):
        p = dual.begin_round(())
        for i, losses in enumerate(np.random.default_rng(1).uniform(0, 2, (5, 3))):
            assert np.allclose(ours.priorities, p, rtol=1e-12)
            value = ours(torch.tensor(losses))
            assert float(value) == pytest.approx(float(p @ losses))
            ours.update(torch.tensor(losses))
            p = dual.update(p, 2.5 - losses, np.array([i + 1.0]))
        ours.reset()


def test_it_trains_a_plain_pytorch_loop():
    """Two tasks of one model: the dual's gradient is Σ p_k ∇ℓ_k, and the worse off gains by it."""
    torch.manual_seed(0)
    inputs = torch.randn(2, 64, 4) * torch.tensor([1.5, 0.5])[:, None, None]
    targets = inputs.sum(dim=-1) * torch.tensor([1.0, -1.0])[:, None]  # task 2's pull is weak

    def trained(weigh):
        model = torch.nn.Linear(4, 1)
        torch.nn.init.zeros_(model.weight)
        torch.nn.init.zeros_(model.bias)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.02)
        for _ in range(300):
            losses = (model(inputs).squeeze(-1) - targets).square().mean(dim=1)
            optimizer.zero_grad()
            weigh(losses)
            optimizer.step()
        return losses.detach()

    fair = DualScalarizer(2, max_loss=9.0, utility_bounds=(0.5, 9.0), alpha=3.0)

    def by_duals(losses):
        fair(losses).backward()
        fair.update(losses)

    def equally(losses):
        losses.mean().backward()

    assert trained(by_duals).max() < trained(equally).max()


def test_state_and_dtype_travel():
    one, other = scalarizer(), scalarizer()
    one.update(torch.tensor([0.1, 1.0, 2.0]))
    other.load_state_dict(one.state_dict())
    assert other.slot == 1 and torch.equal(one.priorities, other.priorities)
    assert one.to(torch.float64).priorities.dtype == torch.float64
    assert one.slot.dtype == torch.int64  # a count is not rounded
    one.reset()
    assert one.slot == 0 and torch.equal(one.priorities, torch.full((3,), 0.5).double())
    assert isinstance(one, Scalarizer) and isinstance(one, Stateful)
    assert not list(one.parameters())


def test_losses_of_any_shape():
    flat, square = scalarizer(shape=4), scalarizer(shape=(2, 2))
    losses = torch.tensor([0.1, 1.0, 2.0, 1.5])
    for one, values in ((flat, losses), (square, losses.reshape(2, 2))):
        one.update(values)
    assert torch.equal(flat.priorities, square.priorities.flatten())
    assert flat(losses) == square(losses.reshape(2, 2))


def test_what_it_refuses():
    one = scalarizer()
    with pytest.raises(ValueError, match=r"shape \(2,\): must be \(3,\)"):
        one(torch.ones(2))
    with pytest.raises(FloatingPointError, match="finite"):
        one.update(torch.tensor([1.0, torch.nan, 1.0]))
    assert one.slot == 0
    with pytest.raises(ValueError, match="max_loss"):
        DualScalarizer(2, max_loss=4.0, utility_bounds=(1.0, 3.0))


@pytest.mark.parametrize("change", ["update", "reset", "load_state_dict"])
def test_the_priorities_may_move_between_forward_and_backward(change):
    """As in Lightning, which calls backward once training_step has returned."""
    losses = torch.tensor([0.1, 1.0, 2.0], requires_grad=True)
    one = scalarizer()
    one.update(losses)
    p = one.priorities.clone()
    total = one(losses)
    if change == "update":
        one.update(losses)
    elif change == "reset":
        one.reset()
    else:
        one.load_state_dict(scalarizer().state_dict())
    assert not torch.equal(one.priorities, p)
    total.backward()
    assert torch.equal(losses.grad, p)


def test_torchs_default_type_is_not_its():
    torch.set_default_dtype(torch.float64)
    try:
        one = scalarizer()
    finally:
        torch.set_default_dtype(torch.float32)
    assert one.priorities.dtype is torch.float32
    other = scalarizer()
    for each in (one, other):
        each.update(torch.tensor([0.1, 1.0, 2.0], dtype=torch.float32))
    assert torch.equal(one.priorities, other.priorities)


def test_losses_of_other_scales_are_weighed_as_if_they_were_alike():
    scale = np.array([1.0, 1.0, 1024.0])
    ours, plain = (
        DualScalarizer(3, max_loss=2.5 * c, utility_bounds=(1.0 * c, 3.0 * c)).double()
        for c in (scale, 1.0)
    )
    for one in (ours, plain):
        one.reset()
    for losses in np.random.default_rng(0).uniform(0, 2, (6, 3)):
        ours.update(torch.tensor(losses * scale))
        plain.update(list(torch.tensor(losses)))
        assert ours.priorities.numpy() * scale == pytest.approx(plain.priorities.numpy(), rel=1e-9)
    assert float(ours(torch.tensor(losses * scale))) == pytest.approx(
        float(plain(losses_of(losses)))
    )


def losses_of(numbers):
    return [torch.tensor(one) for one in numbers]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"max_loss": [2.0] * 2}, "must have 3 numbers"),
        ({"utility_bounds": (1.0, [3.0, 3.0])}, "must have 3 numbers"),
        ({"max_loss": [2.0, 9.0, 2.0]}, r"max_loss\[1\]=9.0"),
    ],
)
def test_numbers_for_other_users_are_refused(given, message):
    with pytest.raises(ValueError, match=message):
        DualScalarizer(3, **{"max_loss": 2.5, "utility_bounds": (1.0, 3.0), **given})


def test_a_priority_that_sits_at_its_end_is_said_once():
    ours = scalarizer()
    for _ in range(16):
        ours.update(torch.tensor([0.5, 1.0, 120.0]))  # a raw MSE beside cross-entropies
    with pytest.warns(UserWarning, match="user 2 sat at its largest for the last 1[0-9] of 16"):
        ours.reset()
    for _ in range(16):
        ours.update(torch.tensor([0.5, 1.0, 120.0]))
    ours.reset()  # not again
    quiet = scalarizer()
    for losses in np.random.default_rng(0).uniform(0, 1.4, (16, 3)):
        quiet.update(torch.tensor(losses))
    quiet.reset()


def test_it_is_said_too_where_no_round_ever_ends():
    ours = scalarizer()
    with pytest.warns(UserWarning, match="user 2"):
        for _ in range(128):
            ours.update(torch.tensor([0.5, 1.0, 120.0]))


def test_who_diverged_is_named():
    ours = scalarizer()
    ours.update(torch.tensor([0.5, 900.0, 1.0]))
    with pytest.raises(
        FloatingPointError, match=r"user 0 is nan in slot 2; user 1 diverged.*-897\.5"
    ):
        ours.update(torch.tensor([float("nan"), float("nan"), 1.0]))


def test_a_state_of_other_bounds_is_refused(tmp_path):
    state = DualScalarizer(3, max_loss=2.5, utility_bounds=(1.0, 4.0)).state_dict()
    torch.save(state, tmp_path / "state.pt")
    with pytest.raises(ValueError, match=r"utility_bounds=\[1.0, 4.0\], this .*\[1.0, 3.0\]"):
        scalarizer().load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    ours = scalarizer()
    ours.update(torch.tensor([0.1, 0.2, 1.4]))
    other = scalarizer()
    other.load_state_dict(ours.state_dict())
    assert torch.equal(other.priorities, ours.priorities)
    former = {name: one for name, one in ours.state_dict().items() if name != "_extra_state"}
    other.load_state_dict(former)  # of before


def test_update_may_come_before_backward():
    """As in Lightning, whose optimizer's closure runs backward after the training step."""
    losses = torch.rand(3, requires_grad=True)
    ours, p = scalarizer(), scalarizer().priorities
    total = ours(losses)
    ours.update(losses)
    total.backward()
    assert torch.equal(losses.grad, p)
