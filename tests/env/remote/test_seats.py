"""A server's seats: who may sit down, and what is answered to what should not be said.

In each test another user goes on as if nothing had happened, to the bits of one process.
"""

import re
import secrets
import socket
from dataclasses import replace

import numpy as np
import pytest
import torch
from remote_helpers import Server, Stranger, equal, rounds_of

import owo_env
from owo_env.remote import RemoteError, credentials
from owo_env.remote.protocol import VERSION, Up
from owo_env.remote.tensors import told
from owo_env.scenarios.split_learning.wire import pack


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """One that waits for its second user for ever: its seats are what is looked at."""
    with Server(tmp_path_factory.mktemp("server"), rounds=1) as one:
        one.join(1)
        one.until("user 1 is there")
        yield one


def test_without_a_token_or_with_a_wrong_one_nothing_is_read(server):
    for secret, said in [
        ("", "no token"),
        ("2", "no token"),
        ("2-" + "0" * 64, "a token that opens no seat"),
        (f"1-{server.token(2).secret}", "a token that opens no seat"),
        (f"9-{server.token(2).secret}", "a token that opens no seat"),
    ]:
        stranger = Stranger(server.address, server.token(2), secret)
        assert stranger.refused() == ("UNAUTHENTICATED", f"the call has {said}" + (
            " here" if "opens" in said else ""))  # fmt: skip
    shown = " ".join(server.told)
    assert not any(token.secret in shown for token in server.credentials.tokens)


def test_another_certificate_is_another_server(server):
    wrong = replace(server.token(2), fingerprint="0" * 64)
    with pytest.raises(PermissionError, match="another certificate"):
        Stranger(server.address, wrong)
    with pytest.raises(RemoteError, match="not the server that made the token"):
        owo_env.remote.join(server.address, [], torch.nn.Linear(1, 1), token=wrong.line)


def test_another_version_and_what_is_no_join(server):
    stranger = Stranger(server.address, server.token(2))
    stranger.join(version=VERSION + 1)
    said = f"protocol version {VERSION + 1}: this server speaks {VERSION}"
    assert stranger.refused() == ("FAILED_PRECONDITION", said)
    for content, text in [
        (b"\xff\xfegarbage", "bytes that are no message"),
        (Up(judged=dict(number=1)).SerializeToString(), "judged is said before join"),
        (b"", "a message without content"),
        (Up(join=dict(version=1)).SerializeToString()[:-1], "no message"),
    ]:
        stranger = Stranger(server.address, server.token(2))
        stranger.say_bytes(content)
        code, said = stranger.refused()
        assert code == "INVALID_ARGUMENT" and text in said


def test_a_seat_is_for_one_process(server):
    """Two clients with one token: the second is told, the first does not notice."""
    second = Stranger(server.address, server.token(1))
    second.join()
    code, text = second.refused()
    assert (code, text) == ("ALREADY_EXISTS", "the seat of user 1 is taken by another process")


def test_garbage_on_the_port_is_nobodys_business(server):
    host, port = server.address.split(":")
    for garbage in (b"GET / HTTP/1.1\r\n\r\n", secrets.token_bytes(5000), b"\x16\x03\x01" * 50):
        with socket.create_connection((host, int(port)), 5) as line:
            line.sendall(garbage)
            line.settimeout(5)
            try:
                while line.recv(4096):
                    pass
            except OSError:
                pass
    assert server.remote is not None and 1 not in server.errors


def test_a_message_that_is_larger_than_any_can_be_is_refused(server):
    stranger = Stranger(server.address, server.token(2))
    stranger.say_bytes(b"\0" * 10_000_000)
    code, text = stranger.refused()
    assert code == "RESOURCE_EXHAUSTED" and "larger than max" in text


def test_the_token_is_one_line_that_no_repr_repeats(tmp_path):
    made = credentials.kept(tmp_path, 2)
    token = made.tokens[0]
    assert credentials.Token.read(f" {token.line}\n") == token
    assert token.secret not in repr(token) + repr(made) + str([made])
    for path in ("key.pem", "user-1.token", "user-2.token"):
        assert (tmp_path / path).stat().st_mode & 0o777 == 0o600
    again = credentials.kept(tmp_path, 3)
    assert again.tokens[:2] == made.tokens and again.fingerprint == made.fingerprint
    assert len({t.secret for t in again.tokens}) == 3
    with pytest.raises(ValueError, match="not what the server made") as caught:
        credentials.Token.read(token.secret)
    assert token.secret not in str(caught.value)
    (tmp_path / "user-1.token").write_text(replace(token, fingerprint="0" * 64).line)
    with pytest.raises(ValueError, match=r"user-1.token: is of another user or server"):
        credentials.kept(tmp_path, 2)


X = torch.rand(8, 3, 28, 28)


def sent(tensor, wire=None, **changes):
    about = {**told(pack(tensor, wire, np.random.default_rng)), **changes}
    return lambda at: dict(sent=dict(**at, tensor=about))


def spoilt(value):
    tensor = X.clone()
    tensor[3, 1, 4, 5] = value
    return tensor


WRONG = [
    (sent(spoilt(torch.nan)), "has entries that are not finite"),
    (sent(spoilt(torch.inf)), "has entries that are not finite"),
    (sent(X[:, :2]), r"has shape \(8, 2, 28, 28\): must be \(8, 3, 28, 28\)"),
    (sent(X[:4]), r"has shape \(4, 3, 28, 28\)"),
    (sent(X.double()), "has dtype 'float64': must be 'float32'"),
    (sent(X, "int8"), "has wire format 'int8': must be 'float32'"),
    (sent(X, dtype="object"), "has dtype 'object'"),
    (sent(X, data=b"1234"), "4 bytes: a float32 tensor"),
    (sent(X, strides=[1, 1, 1, 1]), "strides"),
    (sent(X, shape=[8, 3, 28, -28]), "has shape"),
    (lambda at: dict(join=dict(version=1)), "join is out of turn"),
]


@pytest.mark.parametrize(("saying", "text"), WRONG)
def test_a_job_that_cannot_be_is_its_users_alone(tmp_path, saying, text):
    """The offender is told; the others play on without it."""
    with Server(tmp_path, 3, rounds=1, num_slots=2) as server:
        server.join(1, 3)
        offender = Stranger(server.address, server.token(2))
        offender.join()
        opened = offender.hear("round_opened")
        offender.say(opened=dict(round=opened.round))
        slot = offender.hear("slot")
        offender.say(**saying(dict(round=slot.round, slot=slot.slot)))
        code, said = offender.refused()
        assert code == "INVALID_ARGUMENT"
        assert re.search(text, said), said
        server.finish()
    extras = server.records[0].extras
    assert extras["active_slots"].tolist() == [2, 1, 2]
    assert extras["heard_slots"].tolist() == [2, 0, 2]
    assert sorted(server.joined) == [1, 3] and not server.errors
    assert any("user 2 is away: " in one for one in server.told)


@pytest.mark.parametrize(
    ("loss", "upward", "text"),
    [
        (np.nan, torch.zeros(8, 50), "has loss nan"),
        (-1.0, torch.zeros(8, 50), "has loss -1.0"),
        (1.0, torch.zeros(8, 49), r"\(8, 49\): must be \(8, 50\)"),
        (1.0, torch.full((8, 50), torch.nan), "not finite"),
    ],
)
def test_an_answer_that_cannot_be_too(tmp_path, loss, upward, text):
    """What it sent before is in the pass; of the gradient nothing is its."""
    with Server(tmp_path, rounds=1, num_slots=1) as server:
        server.join(1)
        offender = Stranger(server.address, server.token(2))
        offender.join()
        offender.say(opened=dict(round=offender.hear("round_opened").round))
        slot = offender.hear("slot")
        at = dict(round=slot.round, slot=slot.slot)
        offender.say(**sent(X)(at))
        offender.hear("features")
        tensor = told(pack(upward, None, np.random.default_rng))
        offender.say(answer=dict(**at, loss=loss, tensor=tensor))
        code, said = offender.refused()
        assert code == "INVALID_ARGUMENT" and re.search(text, said), said
        server.finish()
    assert server.records[0].extras["heard_slots"].tolist() == [1, 0]
    assert np.isfinite(server.records[0].model).all()


def test_who_talks_too_much_is_sent_away(tmp_path):
    with Server(tmp_path, rounds=1) as server:
        server.join(1)
        offender = Stranger(server.address, server.token(2))
        offender.join()
        for n in range(100):
            offender.say(judged=dict(number=n))
        assert offender.refused() == ("INVALID_ARGUMENT", "judged is out of turn")


def test_a_user_without_a_task_that_fits_says_why(tmp_path):
    """Of 5 items no batch of 8 can be made: the user hears so, and the server who it was."""
    few = torch.utils.data.TensorDataset(torch.rand(5, 3, 28, 28), torch.zeros(5, dtype=int))
    with Server(tmp_path, rounds=1) as server:
        with pytest.raises(ValueError, match="batch_size=8: must be at most 5"):
            owo_env.remote.join(
                server.address, few, torch.nn.Linear(50, 10), token=server.token(2).line,
                state=tmp_path / "state",
            )  # fmt: skip
        server.until("user 2 is away: batch_size=8: must be at most 5")


def test_the_server_must_be_one_of_split_learning():
    from owo_env.remote.serving import served

    with pytest.raises(TypeError, match="'sinusoid' has no users of split learning"):
        with served(owo_env.make_scenario("sinusoid"), credentials.made(2), "127.0.0.1:0", run="r"):
            pass


def test_users_with_data_of_their_own(tmp_path):
    """An encoder that has no data meets data sets that have no server, wire and metrics too."""
    torch.manual_seed(0)
    encoder = torch.nn.Sequential(torch.nn.Linear(6, 5), torch.nn.ReLU())
    data = [
        torch.utils.data.TensorDataset(torch.randn(40, 6), torch.randn(40, 1)) for _ in range(2)
    ]
    tasks = [owo_env.scenarios.split_learning.Task(one, validation=one) for one in data]
    common = dict(num_slots=3, batch_size=10, l_max=9.0, utility_bounds=(1.0, 9.0))

    def head():
        return torch.nn.Sequential(torch.nn.Linear(5, 1))

    local, stream = rounds_of(
        "split-learning", 3, encoder=encoder, head=head, tasks=tasks,
        loss=torch.nn.functional.mse_loss, **common,
    )  # fmt: skip
    hosted = owo_env.remote.Hosted(encoder, 2, input_shape=(6,), **common)
    with pytest.raises(ValueError, match="the users of this scenario are elsewhere"):
        rounds_of(hosted, 1)
    with Server(tmp_path, rounds=3, scenario=hosted) as server:

        def take_part(user):
            return owo_env.remote.join(
                server.address, tasks[user - 1], head, torch.nn.functional.mse_loss,
                token=server.token(user).line, state=tmp_path / f"{user}",
            )  # fmt: skip

        server.take(take_part, 1, 2)
        server.finish()
    equal(local, server.records)
    for user, joined in server.joined.items():
        mine = stream.users.heads.heads[user - 1][0].weight
        assert torch.equal(mine, joined.head[0].weight)
