"""Logs in any of the ways in which they come: read alike, or refused by name and line."""

import csv
import datetime
import io

import numpy as np
import pytest

from owo_env.figure import spoken
from owo_env.logs import trace_from
from owo_env.logs.cells import seconds
from owo_env.logs.grid import on_grid
from owo_env.logs.table import Roles, read

ROLES = {
    "time": "time",
    "user": "ue",
    "user_class": "kind",
    "features": ["snr", "rate"],
    "target": "rate",
}
START = 1_772_366_400  # 2026-03-01 12:00:00 UTC


def columns(users=3, rows=40, seed=0):
    """Rows of 10 ms, ordered by time."""
    rng = np.random.default_rng(seed)
    snr = np.round(rng.normal(10, 3, (rows, users)), 3)
    n = np.repeat(np.arange(rows), users)
    return {
        "time": START + 0.01 * n,
        "ue": np.tile([f"0x{17921 + 7 * k:X}" for k in range(users)], rows),
        "kind": np.tile(["edge", "van", "edge"][:users], rows),
        "snr": snr.ravel(),
        "rate": np.round(2 * snr + rng.normal(0, 1, snr.shape), 3).ravel(),
    }


def text(found, delimiter=",", comma=False, time=lambda t: f"{t:.2f}"):
    file = io.StringIO()
    writer = csv.writer(file, delimiter=delimiter)
    writer.writerow(found)
    for t, *names, a, b in zip(*found.values()):
        cells = [time(float(t)), *names, *(f"{v:.3f}" if v == v else "" for v in (a, b))]
        writer.writerow([c.replace(".", ",") for c in cells] if comma else cells)
    return file.getvalue()


def dated(zone=None, form="%Y-%m-%dT%H:%M:%S.%f"):
    offset = datetime.timezone(datetime.timedelta(hours=zone or 0))

    def time(t):
        at = datetime.datetime.fromtimestamp(round(t, 2), offset)
        return at.strftime(form) + ("" if zone is None else at.strftime("%z"))

    return time


def made(log, **settings):
    known = {"slots": 8, "users": 3, "period": "10ms", "absent": "leave-out"}
    return trace_from(log, **{**ROLES, **known, **settings})


@pytest.fixture(scope="module")
def plain():
    return made(columns())


def same(one, other):
    np.testing.assert_array_equal(one.features, other.features)
    np.testing.assert_array_equal(one.targets, other.targets)
    np.testing.assert_array_equal(one.user_class, other.user_class)
    np.testing.assert_array_equal(one.user, other.user)


WAYS = {
    "commas": (dict(), "utf-8"),
    "semicolons and decimal commas": (dict(delimiter=";", comma=True), "utf-8"),
    "tabs": (dict(delimiter="\t"), "utf-8"),
    "a byte-order mark": (dict(delimiter=";"), "utf-8-sig"),
    "UTF-16": (dict(delimiter=";", comma=True), "utf-16"),
    "UTF-32": (dict(), "utf-32"),
    "ISO 8601": (dict(time=dated()), "utf-8"),
    "a zone": (dict(time=dated(2)), "utf-8"),
    "dots": (dict(time=dated(form="%Y.%m.%d_%H.%M.%S.%f")), "utf-8"),
    "milliseconds since 1970": (dict(time=lambda t: f"{round(1e3 * t)}"), "utf-8"),
    "nanoseconds since 1970": (dict(time=lambda t: f"{round(1e3 * t)}000000"), "utf-8"),
}


@pytest.mark.parametrize("way", WAYS)
def test_texts_of_all_kinds_give_the_same_trace(tmp_path, way, plain):
    how, encoding = WAYS[way]
    path = tmp_path / "cell.csv"
    path.write_text(text(columns(), **how), encoding=encoding, newline="")
    same(made(path), plain)
    same(made([path]), plain)


def test_another_encoding_is_named(tmp_path, plain):
    path = tmp_path / "cell.csv"
    found = columns()
    found["kind"] = np.where(found["kind"] == "van", "véhicule", found["kind"])
    path.write_text(text(found), encoding="latin-1", newline="")
    with pytest.raises(ValueError, match=r"cell\.csv, line 3: is not utf-8"):
        made(path)
    trace = made(path, encoding="latin-1")
    np.testing.assert_array_equal(trace.targets, plain.targets)
    assert "véhicule" in trace.user_class


def test_order_of_rows_and_doubled_rows_change_nothing(plain):
    found = columns()
    rows = len(found["time"])
    order = np.random.default_rng(1).permutation(np.r_[np.arange(rows), 5, 17, 17])
    trace = made({name: values[order] for name, values in found.items()})
    np.testing.assert_array_equal(np.sort(trace.user, axis=1), np.sort(plain.user, axis=1))
    at = [list(trace.user[0]).index(name) for name in plain.user[0]]
    np.testing.assert_allclose(trace.targets[:, :, at], plain.targets, atol=1e-12)
    assert trace.summary.dropped == {"doubled, the last counts": 3}
    assert trace.summary.disorder > 0


def test_of_two_rows_at_one_time_the_later_counts():
    found = {name: np.append(values, values[-1:]) for name, values in columns().items()}
    found["rate"][-1] = 99.0
    roles = Roles("time", "ue", ("snr",), "rate")
    from owo_env.logs.table import of_frame

    grid = on_grid(of_frame(found, roles), 0.01)
    assert grid.users[2].values[-1, 1] == 99.0


def test_data_frames_are_read_like_files(tmp_path, plain):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(columns())
    same(made(frame), plain)
    for zone in (None, "Europe/Athens"):
        stamps = pandas.to_datetime(frame["time"].round(2), unit="s")
        stamps = stamps if zone is None else stamps.dt.tz_localize("UTC").dt.tz_convert(zone)
        same(made(frame.assign(time=stamps.dt.round("ms"))), plain)
    same(made(frame.convert_dtypes()), plain)
    same(made(frame.astype({"kind": "category"})), plain)
    pytest.importorskip("pyarrow")
    frame.to_parquet(tmp_path / "cell.parquet")
    same(made(tmp_path / "cell.parquet"), plain)
    ids = frame["ue"].map({name: float(4601 + i) for i, name in enumerate(frame["ue"].unique())})
    assert set(made(frame.assign(ue=ids)).user.ravel()) == {"4601", "4602", "4603"}


def test_a_file_for_each_user(tmp_path, plain):
    """As drive tests have it; the same clock, or each user's own."""
    found = columns()
    for k, name in enumerate(dict.fromkeys(found["ue"])):
        mine = {n: v[found["ue"] == name] for n, v in found.items() if n != "ue"}
        (tmp_path / f"{name}.csv").write_text(text(mine), newline="")
        mine["time"] = mine["time"] + 4000 * k
        (tmp_path / f"late-{name}.csv").write_text(text(mine), newline="")
    files = [tmp_path / f"{name}.csv" for name in dict.fromkeys(found["ue"])]
    same(made(files, user=None), plain)
    late = [file.with_name(f"late-{file.name}") for file in files]
    aligned = made(late, user=None, align=True)
    np.testing.assert_array_equal(aligned.targets, plain.targets)
    with pytest.raises(ValueError, match="no two users are there at once"):
        made(late, user=None)


def test_a_layout_of_other_people(tmp_path):
    """That of Colosseum's O-RAN logs: a file a user, unnamed columns between, times in ms."""
    found, files = columns(rows=60), []
    for k, name in enumerate(dict.fromkeys(found["ue"])):
        mine = found["ue"] == name
        rows = zip(found["time"][mine], found["snr"][mine], found["rate"][mine])
        lines = [
            f"{round(1000 * (START + 25 * (t - START)))},3,{10 + k},,1,{k % 2},,{a},,{b}\n"
            for t, a, b in rows
        ]
        head = "Timestamp,num_ues,IMSI,,slicing_enabled,slice_id,,dl_cqi,,tx_brate downlink [Mbps]"
        path = tmp_path / f"10{k}_metrics.csv"
        path.write_text("\n".join([head, "".join(lines)]))
        files.append(path)
    trace = trace_from(
        files,
        time="Timestamp",
        user="IMSI",
        user_class="slice_id",
        features=["dl_cqi", "tx_brate downlink [Mbps]"],
        target="tx_brate downlink [Mbps]",
        period="250ms",
        slots=16,
        absent="leave-out",
    )
    assert trace.features.shape == (3, 16, 3, 3)
    assert set(trace.user_class[0]) == {"0", "1"}


def test_lengths_of_time():
    assert seconds("hold", "50ms") == pytest.approx(0.05) and seconds("hold", 2) == 2.0
    assert seconds("hold", "1.5 min") == 90.0 and seconds("period", "ms") == 1e-3
    assert [spoken(t) for t in (0.01, 0.25, 90, 62.5e-6)] == ["10 ms", "250 ms", "90 s", "62.5 µs"]


# Bad input


def changed(**cells):
    """The columns as texts, the cells of row 5 changed."""
    found = {name: values.astype(object) for name, values in columns().items()}
    for name, cell in cells.items():
        found[name][5] = cell
    return found


BAD = {
    r"unknown column of the table 'rates': did you mean 'rate'": dict(target="rates"),
    r"unknown column of the table 'when'": dict(time="when"),
    r"row 6: snr is 'good'": dict(log=changed(snr="good")),
    r"row 6: rate is infinite": dict(log=changed(rate=np.inf)),
    r"row 6: time is '01/03/2026 12:00'.*year first": dict(log=changed(time="01/03/2026 12:00")),
    r"row 1: time is '2026-02-30 12:00' \(day": dict(
        log={**columns(), "time": np.full(120, "2026-02-30 12:00")}
    ),
    r"row 1: time is '2026-02-20 25:00' \(no such time of day\)": dict(
        log={**columns(), "time": np.full(120, "2026-02-20 25:00")}
    ),
    r"time has a number in the table, row 1 and a date": dict(
        log=changed(time="2026-03-01 12:00:00")
    ),
    r"features='snr': must be a list": dict(features="snr"),
    r"features=\['snr', 'snr'\]: names a column twice": dict(features=["snr", "snr"]),
    r"period='10': must be a length of time": dict(period="10"),
    r"period=0: must be longer than 0": dict(period=0),
    r"period=1 ms: the table has a row of a user every 10 ms": dict(period="1ms"),
    r"hold='-1ms'": dict(hold="-1ms"),
    r"horizon=0": dict(horizon=0),
    r"slots=0": dict(slots=0),
    r"slots=64: no two users .* longest stay of a user is 39 slots of 10 ms": dict(slots=64),
    r"users=1: must be a whole number, at least 2": dict(users=1),
    r"users=4: at most 3 are there at once for a round of 8 slots \(80 ms\)": dict(users=4),
    r"align='yes'": dict(align="yes"),
    r"target rate is 7 throughout": dict(log={**columns(), "rate": np.full(120, 7.0)}),
    r"feature snr is 1 throughout": dict(log={**columns(), "snr": np.ones(120)}),
    r"has one user, '0x4601'": dict(log={n: v[::3] for n, v in columns().items()}),
    r"no row has both a time and a user": dict(log={**columns(), "ue": np.full(120, "")}),
    r"no user has two rows": dict(log={n: v[:3] for n, v in columns().items()}),
    r"has no rows": dict(log={n: v[:0] for n, v in columns().items()}),
    r"columns differ in length": dict(log={**columns(), "snr": np.ones(3)}),
    r"which column tells users apart": dict(user=None),
}


@pytest.mark.parametrize("message", BAD)
def test_bad_logs_are_refused(message):
    settings = dict(BAD[message])
    with pytest.raises(ValueError, match=message):
        made(settings.pop("log", columns()), **settings)


GOOD = text(columns())
LINES = GOOD.splitlines()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"is empty"),
        (b"time\n1\n", r"line 1: has one column, 'time'"),
        (GOOD.replace("kind", "sort", 1).encode(), r"unknown column .* 'kind'"),
        (GOOD.replace("kind", "snr", 1).encode(), r"unknown column .* 'kind'"),
        (GOOD.replace("kind", "kind,snr", 1).encode(), r"has two columns 'snr'"),
        ("\n".join([*LINES[:9], LINES[9][:12], *LINES[10:]]).encode(), r"line 10: has \d cells"),
        ("\n".join([*LINES[:9], LINES[9] + ",7"]).encode(), r"line 10: has 6 cells"),
        (GOOD.encode("utf-16-le"), r"UTF-16 without a byte-order mark"),
        (
            text(columns(), ";", comma=True).replace(",", ".", 9).encode(),
            r"decimal point in .*line \d+ and a decimal comma in .*line \d+|decimal comma in",
        ),
        (
            text(columns(), time=dated(1)).replace("+0100", "", 1).encode(),
            r"without a time zone in .*line 2 and a date with a time zone in .*line 3",
        ),
    ],
)
def test_bad_files_are_refused_by_name_and_line(tmp_path, content, message):
    path = tmp_path / "cell.csv"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"(?s)cell.csv.*{message}|{message}"):
        made(path)


def test_files_that_are_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such file"):
        made(tmp_path / "cell.csv")
    (tmp_path / "cell.csv").write_text(GOOD)
    with pytest.raises(ValueError, match="knows no such encoding"):
        made(tmp_path / "cell.csv", encoding="utf-9")
    (tmp_path / "cell.parquet").write_text(GOOD)
    pytest.importorskip("pyarrow")
    with pytest.raises(ValueError, match="is not a Parquet file"):
        made(tmp_path / "cell.parquet")


def test_two_zones_are_one_clock_and_said(tmp_path, plain):
    at, time = iter(range(10**6)), {True: dated(1), False: dated(2)}
    path = tmp_path / "cell.csv"
    path.write_text(text(columns(), time=lambda t: time[next(at) % 2 == 0](t)), newline="")
    trace = made(path)
    same(trace, plain)
    assert "times: in the zones +01:00, +02:00, put on one clock" in trace.summary.lines()


def test_rows_without_time_or_user_are_counted():
    trace = made(changed(time="", ue=""), hold="20ms")
    assert trace.summary.dropped == {"without a time": 1}
    trace = made(changed(ue="-"), hold="20ms")
    assert trace.summary.dropped == {"without a user": 1}


def test_only_what_is_asked_for_is_read(tmp_path):
    found = {**columns(), "comment": np.full(120, "not a number")}
    path = tmp_path / "cell.csv"
    file = io.StringIO()
    writer = csv.writer(file)
    writer.writerow(found)
    writer.writerows(zip(*found.values()))
    path.write_text(file.getvalue())
    table = read([path], Roles("time", "ue", ("snr",), "rate"))
    assert table.numbers.shape == (120, 2) and table.classes == []
