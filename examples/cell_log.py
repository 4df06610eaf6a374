"""A cell's log as operators have it, with all that is wrong with such logs: ``cell.csv``.

Rows of 10 ms, semicolons and decimal commas, a byte-order mark, users by their RNTI in hexadecimal;
users come late and leave, logging stops now and then, values are missing, some rows come out of
order and some twice. Run it as ``python examples/cell_log.py cell.csv``.
"""

import csv
import sys

import numpy as np

CLASSES = {  # mean SNR in dB, how much of it lasts 10 ms, its deviation in dB
    "edge": (3.0, 0.99, 2.0),
    "pedestrian": (14.0, 0.98, 3.0),
    "vehicular": (18.0, 0.80, 6.0),
}
HEADER = ["time", "rnti", "class", "snr_db", "cqi", "prb_share", "throughput_mbps"]


def stay(rng, kind, rows):
    """What a user of a class measures in as many rows: SNR, CQI, PRB share, Mbit/s."""
    level, lasting, deviation = CLASSES[kind]
    snr = np.empty(rows)
    snr[0] = level
    for n in range(1, rows):
        pull = rng.normal(0, deviation * np.sqrt(1 - lasting**2))
        snr[n] = level + lasting * (snr[n - 1] - level) + pull
    cqi = np.clip(np.round((snr + 6) / 2), 1, 15)
    share = np.clip(0.2 + 0.05 * rng.normal(size=rows), 0.05, 0.4)
    rate = 100 * share * np.log2(1 + 10 ** (snr / 10)) * 0.7
    return snr, cqi, share, rate * np.exp(0.1 * rng.normal(size=rows))


def log(seed=0, users=9, seconds=60.0):
    """The rows of a log, as lists of texts."""
    rng = np.random.default_rng(seed)
    rows = []
    for k in range(users):
        begin = 0.0 if k < 4 else rng.uniform(0, 0.6 * seconds)
        end = seconds if k < 3 else min(seconds, begin + rng.uniform(0.3, 0.9) * seconds)
        kind = list(CLASSES)[k % 3]
        times = np.arange(begin, end, 0.01)
        values = np.stack(stay(rng, kind, len(times)), axis=1)
        texts = [[f"{v:.3f}".replace(".", ",") for v in row] for row in values]
        for text in texts:
            text[1] = text[1].partition(",")[0]
            if rng.random() < 0.01:
                text[rng.integers(4)] = ""  # a value is missing
        times = times + rng.uniform(-0.002, 0.002, len(times))
        keep = rng.random(len(times)) > 0.01  # a row is lost
        for gap in rng.uniform(begin, end, 2):
            keep &= ~((times > gap) & (times < gap + rng.uniform(0.1, 1.0)))  # logging stops
        rnti = f"0x{0x46A1 + 7 * k:04X}"
        rows += [
            [f"{1_772_366_400 + t:.4f}".replace(".", ","), rnti, kind, *text]
            for t, text, kept in zip(times, texts, keep)
            if kept
        ]
    rows.sort(key=lambda row: row[0])
    for n in rng.integers(0, len(rows) - 3, len(rows) // 200):
        rows[n], rows[n + 3] = rows[n + 3], rows[n]  # out of order
    return rows + [rows[n] for n in rng.integers(0, len(rows), len(rows) // 200)]  # twice


def write(path, seed=0, **settings):
    """Write the log as a spreadsheet of another country would."""
    with open(path, "w", encoding="utf-8-sig", newline="") as file:
        writer = csv.writer(file, delimiter=";")
        writer.writerow(HEADER)
        writer.writerows(log(seed, **settings))


if __name__ == "__main__":
    write(*(sys.argv[1:] or ["cell.csv"]))
