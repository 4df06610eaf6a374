"""What a learner may know of a scenario before it plays."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from owo_env import checks
from owo_env.fairness import AlphaFair, Fairness, Smooth, sum_users
from owo_env.fairness.notion import as_number
from owo_env.link.settings import Link

FAINTEST = 1e-250  # a priority that is not 0 by intent; what is made of it has room


@dataclass(frozen=True, eq=False, kw_only=True)
class Problem:
    """The constants of one fair online multi-task problem (paper §II).

    Attributes:
        num_users: K, the users who share the model; at least 2.
        dim: d, the parameters of the shared model.
        num_slots: m, the slots of a round.
        utility_bounds: (u_min, u_max) with 0 < u_min < u_max; they bound the dual space W. Each is
            a number, or K where users' differ; :attr:`owo_env.fairness.Fairness.bounds` has them
            to reckon with.
        initial_model: x_1 ∈ Θ, shape (d,); its dtype is that of models and gradients. A copy that
            cannot be written to, since all agents of a problem start from it.
        fairness: What is maximized; default α-fairness with ``alpha``. A scenario need not give
            it: the environment does.
        alpha: The fairness parameter α ≥ 0 of eq. 1, default 1; None of a notion without one.
        l_max: Utility is l_max − loss with losses ≥ 0, so u_min < l_max ≤ u_max; a number, or K
            where users' differ. None means unknown.
        model_bounds: Θ as the cube [low, high]^d; None means unbounded.
        diameter: D_Θ, the largest distance within Θ; by default that of the cube, √d·(high − low).
            None means unknown.
        smoothness: L, the Lipschitz constant of one user's loss gradient; a number, or K where
            users' differ. None means unknown.
        gradient_bound: G_Θ ≥ ‖Σ p_k ∇u_k‖ for priorities within W and utilities ≥ u_min; None
            means unknown. By default it follows from L: a non-negative loss has ‖∇ℓ‖² ≤ 2Lℓ,
            which is at most 2L(l_max − u_min), user by user where these differ.
        error_unit: (name, s) where losses are squared errors with a unit: a loss of 1 is an error
            of s in that unit. None: they have none.
        slot_ms: How long a slot lasts, in ms; None where it has no length.
        convex: Whether every loss is convex in the model, as the theory wants it.
        hindsight: Whether the last ``info`` of a round reveals ``fairest_model`` (eq. 2).
        link: How users are heard; None: every user, in every slot, at once and exactly.
        class_names: The names of users' classes, whose places ``info["user_class"]`` holds; None
            where users are of no class.

    Raises:
        ValueError: A constant is outside its domain.
    """

    num_users: int
    dim: int
    num_slots: int
    utility_bounds: tuple[Any, Any]
    initial_model: NDArray[np.floating]
    fairness: Fairness = None  # type: ignore[assignment]  # known once the instance is made
    alpha: float | None = None
    l_max: Any = None
    model_bounds: tuple[float, float] | None = None
    diameter: float | None = None
    smoothness: Any = None
    gradient_bound: float | None = None
    error_unit: tuple[str, float] | None = None
    slot_ms: float | None = None
    convex: bool = False
    hindsight: bool = False
    link: Link | None = None
    class_names: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        for name, least in (("num_users", 2), ("dim", 1), ("num_slots", 1)):
            self._keep(name, checks.whole(name, getattr(self, name), low=least))
        bounds = checks.utility_bounds(self.utility_bounds, self.num_users)
        self._keep("utility_bounds", bounds)
        if self.l_max is not None:
            allowed = {"low": bounds[0], "high": bounds[1], "open_low": True}
            self._keep("l_max", checks.each("l_max", self.l_max, self.num_users, **allowed))
        if self.model_bounds is not None:
            try:
                left, right = self.model_bounds
            except (TypeError, ValueError):
                text = f"model_bounds={self.model_bounds!r}: must be a pair (low, high)"
                raise ValueError(text) from None
            left = checks.number("model_bounds[0]", left)
            right = checks.number("model_bounds[1]", right, low=left, open_low=True)
            self._keep("model_bounds", (left, right))
            if self.diameter is None:
                self._keep("diameter", (right - left) * self.dim**0.5)
        if self.smoothness is not None:
            users, allowed = self.num_users, {"low": 0.0, "open_low": True}
            L = checks.each("smoothness", self.smoothness, users, **allowed)
            self._keep("smoothness", L)
        for name in ("diameter", "gradient_bound"):
            if (value := getattr(self, name)) is not None:
                self._keep(name, checks.number(name, value, low=0.0, open_low=True))
        self._keep("initial_model", self._start())
        self._judge()
        self._check_link()
        if self.gradient_bound is None:
            self._keep("gradient_bound", self._gradient_bound())

    def _keep(self, name: str, value: object) -> None:
        """Set a field of the frozen instance to its checked value."""
        object.__setattr__(self, name, value)

    def _start(self) -> NDArray[np.floating]:
        if np.ma.is_masked(self.initial_model):
            raise ValueError(f"initial_model={self.initial_model!r}: some entries are missing")
        x = np.array(self.initial_model)
        if x.dtype.kind not in "fiub":
            raise ValueError(f"initial_model has {x.dtype} entries: must be real numbers")
        if x.dtype.kind != "f":
            x = x.astype(float)  # else all models would be whole numbers
        if x.shape != (self.dim,):
            raise ValueError(f"initial_model has shape {x.shape}: must be ({self.dim},)")
        low, high = self.model_bounds or (-np.inf, np.inf)
        for j in np.flatnonzero(~(np.isfinite(x) & (low <= x) & (x <= high)))[:1]:
            raise ValueError(
                f"initial_model is {x[j]} at index {j}: must be finite and in [{low:g}, {high:g}]"
            )
        return np.frombuffer(x.tobytes(), x.dtype)  # of bytes, which nobody can make writable

    def __setstate__(self, state: dict[str, Any]) -> None:
        """What a copy or a pickle keeps; its arrays are as safe."""
        vars(self).update(state)
        self._keep("initial_model", self._start())

    def _judge(self) -> None:
        """Agree on ``fairness`` and ``alpha``."""
        if self.fairness is None:
            alpha = 1.0 if self.alpha is None else self.alpha
            self._keep("fairness", AlphaFair(self.num_users, self.utility_bounds, alpha))
        notion = self.fairness
        if not isinstance(notion, Fairness):
            raise TypeError(f"fairness={notion!r}: must be an owo_env.fairness.Fairness")
        for name in ("num_users", "utility_bounds"):
            theirs, ours = getattr(notion, name), getattr(self, name)
            if theirs != ours:
                raise ValueError(f"fairness has {name}={theirs}: must be {ours}, the problem's")
        low, high = notion.priority_bounds
        least = FAINTEST if isinstance(notion, Smooth) else 0.0
        if not (low >= least and high <= 1 / FAINTEST):
            raise ValueError(
                f"fairness ({notion}) with utility_bounds={self.utility_bounds}: priorities reach "
                f"from {low:.0e} to {high:.0e}, beyond what a float can be reckoned with; give "
                "utilities in a unit in which they are near 1"
            )
        alpha = getattr(notion, "alpha", None)
        if self.alpha not in (None, alpha):
            raise ValueError(f"alpha={self.alpha}: fairness={notion!r} has another; give one")
        self._keep("alpha", alpha)

    def _check_link(self) -> None:
        link = self.link
        if link is None:
            return
        if link.delay >= self.num_slots:
            raise ValueError(
                f"link: delay={link.delay}: must be less than num_slots={self.num_slots}, or "
                "nothing would ever arrive"
            )
        if link.count == "jobs" and not self.fairness.separable:
            raise ValueError(
                f"link: count='jobs': needs a fairness that is a sum over users and has terms(); "
                f"{self.fairness} is none"
            )

    def _gradient_bound(self) -> float | None:
        """G_Θ from L; None where it or l_max is unknown."""
        if self.smoothness is None or self.l_max is None:
            return None
        loss = as_number(self.l_max) - as_number(self.utility_bounds[0])
        return self._at_most((2 * as_number(self.smoothness) * loss) ** 0.5)

    def _at_most(self, each: Any) -> float:
        """The largest Σ p_k c_k over P, or more; ``each`` is c, a number or (K,)."""
        if np.ndim(each) == 0:
            return float(self.fairness.most * each)
        high = self.fairness.priority_box[1]
        return float(min(self.fairness.most * each.max(), sum_users(high * each)))

    @property
    def curvature(self) -> float | None:
        """The Lipschitz constant of Σ p_k ∇u_k for priorities in P; None where L is unknown."""
        return None if self.smoothness is None else self._at_most(as_number(self.smoothness))

    def judged_by(self, fairness: Fairness) -> Problem:
        """The same problem under another notion of fairness; G_Θ grows with its priorities."""
        bound = None  # follows from L anew
        if self.gradient_bound is not None and self.gradient_bound != self._gradient_bound():
            bound = self.gradient_bound / self.fairness.most * fairness.most
        return replace(self, fairness=fairness, alpha=None, gradient_bound=bound)

    def project(self, model: NDArray[np.floating]) -> NDArray[np.floating]:
        """The nearest model in Θ; shape (..., d)."""
        if self.model_bounds is None:
            return model
        return model.clip(*self.model_bounds)


def problem_of(env: Any) -> Problem:
    """The problem of an environment, scalar or vector, wrapped or not, or the problem itself."""
    if isinstance(env, Problem):
        return env
    problem = attribute(env, "problem")
    if not isinstance(problem, Problem):
        raise TypeError(f"env={env!r}: must be an AIRAN environment or a Problem")
    return problem


def attribute(env: Any, name: str) -> Any:
    """A constant of the unwrapped environment; of the first one under Sync- and AsyncVectorEnv."""
    inner = getattr(env, "unwrapped", env)
    if not hasattr(inner, name) and hasattr(inner, "get_attr"):
        return inner.get_attr(name)[0]
    return getattr(inner, name, None)
