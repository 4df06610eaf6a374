"""A run before one's eyes, in the terminal: ``owo run --render``."""

import time
from collections.abc import Callable
from typing import Any

import gymnasium as gym
from rich.console import Console
from rich.live import Live
from rich.text import Text

from owo_agents.agent import Agent
from owo_agents.playing.loop import play


class _Shown(gym.Wrapper[Any, Any, Any, Any]):
    """Shows the environment's text after every slot."""

    def __init__(self, env: gym.Env[Any, Any], show: Callable[[str], None]) -> None:
        super().__init__(env)
        self.show = show

    def step(self, action: Any) -> Any:
        result = super().step(action)
        self.show(str(self.env.render()))
        return result


def watch(env: gym.Env[Any, Any], agent: Agent, rounds: int, seed: int, console: Console) -> None:
    """Play, showing every slot in place; where the console is no terminal, each round's end.

    Args:
        env: With ``render_mode="ansi"``; its ``render_fps`` sets the pace in a terminal.
        agent: For ``env``.
        rounds: How many.
        seed: Starts the stream.
        console: Where to show it.
    """
    pause = 1 / env.metadata["render_fps"]
    with Live(console=console, auto_refresh=False) as screen:

        def show(frame: str) -> None:
            if console.is_terminal:
                screen.update(Text(frame), refresh=True)
                time.sleep(pause)

        for _ in play(_Shown(env, show), agent, rounds, seed):
            if not console.is_terminal:
                console.print(Text(str(env.render())))
