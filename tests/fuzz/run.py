"""`make fuzz-answers MINUTES=10`: draw operators, ask everything, write down what is wrong.

    python -m tests.fuzz --minutes 10 [--seed 0] [--jobs 2] [--out fuzz-failures.jsonl]
    python -m tests.fuzz --replay 123          one draw by its seed
    python -m tests.fuzz --replay FILE         cases of a file, one JSON a line
    python -m tests.fuzz --shrink 123          its smallest relative that still fails, as a program
    python -m tests.fuzz --settle [FILE]       what passes now becomes a test case

Draw i of a run has seed `--seed` + i, and a draw is a function of its seed alone.  The file holds a
failed case a line, for --settle once it is mended.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from queue import Empty
from typing import Any

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_name, "1")  # one process a core; before torch and numpy are loaded

import torch  # noqa: E402

from .case import Case  # noqa: E402
from .checks import Report, examine  # noqa: E402
from .draws import draw  # noqa: E402
from .shrink import shrink, source  # noqa: E402

KEPT = Path(__file__).with_name("cases.jsonl")
"""Cases that failed once, for the tests to replay."""

OPEN = KEPT.with_name("open.jsonl")
"""Cases that fail still."""

HANGS = 120
"""Seconds after which a draw is given up."""


def main() -> int:
    """Run until the minutes are over; 1 if anything failed."""
    args = _arguments()
    if args.replay is not None:
        return _replay(_cases(args.replay))
    if args.settle is not None:
        return _settle(args.settle)
    if args.shrink is not None:
        return _shrink(_cases(args.shrink))
    started, deadline = time.time(), time.time() + 60 * args.minutes
    print(f"seeds from {args.seed}, {args.jobs} processes, {args.minutes:g} minutes, to {args.out}")
    args.out.write_text("")
    counts: Counter[str] = Counter()
    kinds: Counter[str] = Counter()
    with args.out.open("a") as out:
        for record in _records(args.seed, args.jobs, args.draws or 10**9, deadline):
            _count(record, counts, kinds)
            if record["failures"]:
                out.write(json.dumps(record) + "\n")
                out.flush()
    print(_summary(counts, kinds, time.time() - started))
    return bool(kinds or counts["harness failed"])


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--draws", type=int, help="stop after as many draws")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--out", type=Path, default=Path("fuzz-failures.jsonl"))
    parser.add_argument("--replay", help="a seed, or a file of cases")
    parser.add_argument("--shrink", help="the same: make it small and print it as a program")
    parser.add_argument(
        "--settle", type=Path, nargs="?", const=OPEN, help="keep what passes now as test cases"
    )
    return parser.parse_args()


def _prepare() -> None:
    torch.set_num_threads(1)
    signal.signal(signal.SIGALRM, _give_up)


def _give_up(*_: Any) -> None:
    raise TimeoutError(f"no answer within {HANGS} s")


def _records(seed: int, jobs: int, draws: int, deadline: float) -> Iterator[dict[str, Any]]:
    """What came of every draw, from as many processes."""
    context = multiprocessing.get_context("spawn")
    queue: Any = context.Queue()
    seeds = [range(seed + j, seed + draws, jobs) for j in range(jobs)]
    workers = [context.Process(target=_work, args=(mine, deadline, queue)) for mine in seeds]
    for worker in workers:
        worker.start()
    working = jobs
    while working:
        try:
            record = queue.get(timeout=5)
        except Empty:
            if not any(w.is_alive() for w in workers):
                raise RuntimeError("all processes of the fuzz have died") from None
            continue
        working -= record is None
        if record is not None:
            yield record
    for worker in workers:
        worker.join()


def _work(seeds: range, deadline: float, queue: Any) -> None:
    _prepare()
    parent = multiprocessing.parent_process()
    for seed in seeds:
        if time.time() > deadline or (parent is not None and not parent.is_alive()):
            break
        queue.put(_examined(seed))
    queue.put(None)


def _examined(seed: int) -> dict[str, Any]:
    case, report, error = draw(seed), Report(), ""
    started = time.process_time()
    signal.alarm(HANGS)
    try:
        report = examine(case)
    except TimeoutError as why:
        report.fail("slow", "draw", str(why))
    except Exception as why:  # of the harness, not of an answer
        error = f"{type(why).__name__}: {why}"
    finally:
        signal.alarm(0)
    return {
        "draw": seed,
        "failures": [asdict(f) for f in report.failures],
        "refusals": report.refusals,
        "warned": report.warned,
        "vain": report.vain,
        "open": report.open,
        "rungs": report.rungs[:1],
        "seconds": time.process_time() - started,
        "error": error,
        "case": json.loads(case.to_json()) if report.failures else None,
    }


def _count(record: dict[str, Any], counts: Counter[str], kinds: Counter[str]) -> None:
    counts["draws"] += 1
    counts["warned"] += bool(record["warned"])
    counts["refused"] += bool(record["refusals"])
    counts["undecided"] += bool(record["open"])
    for doubt in record["vain"]:
        counts["in vain: " + doubt.partition(":")[0]] += 1
    for rung in record["rungs"]:
        counts[f"rung {rung}"] += 1
    if record["error"]:
        counts["harness failed"] += 1
        print(f"harness, seed {record['draw']}: {record['error']}", file=sys.stderr)
    for kind in {f"{f['kind']:8}{f['what']} {f['rung']}" for f in record["failures"]}:
        kinds[kind] += 1
        if kinds[kind] <= 3:
            print(f"seed {record['draw']}: {kind}: {_detail(record, kind)}", flush=True)


def _detail(record: dict[str, Any], kind: str) -> str:
    return next(
        f["detail"] for f in record["failures"] if f"{f['kind']:8}{f['what']} {f['rung']}" == kind
    )


def _summary(counts: Counter[str], kinds: Counter[str], seconds: float) -> str:
    lines = [f"\n{counts['draws']:,} draws in {seconds:.0f} s"]
    lines += [f"  {n:6,}  {name}" for name, n in sorted(counts.items()) if name != "draws"]
    lines += ["failures, by class, question and rung:" if kinds else "no failures"]
    lines += [f"  {n:6,}  {name}" for name, n in kinds.most_common()]
    return "\n".join(lines)


def _cases(what: str) -> list[Case]:
    """Of a seed, or of a file."""
    if what.isdigit():
        return [draw(int(what))]
    lines = [json.loads(line) for line in Path(what).read_text().splitlines() if line]
    return [Case.from_json(json.dumps(v.get("case") or v)) for v in lines]


def _replay(cases: list[Case]) -> int:
    _prepare()
    failed = 0
    for case in cases:
        report = examine(case)
        failed += bool(report.failures)
        print(case.operator(), f"{case.family}, {case.damp=:g}, {case.rtol=}, {report.rungs}")
        for f in report.failures:
            print(f"  {f.kind:8}{f.what} {f.rung}: {f.detail}")
        for other in (*report.refusals, *report.vain):
            print(f"  {other}")
    print(f"{failed} of {len(cases)} cases failed")
    return bool(failed)


def _settle(path: Path) -> int:
    """Move the cases of a file that pass now to those that the tests replay; the rest stays."""
    _prepare()
    rest = []
    with KEPT.open("a") as kept:
        for case in _cases(str(path)):
            if examine(case).failures:
                rest.append(case.to_json())
            else:
                kept.write(case.to_json() + "\n")
    if rest:
        path.write_text("".join(line + "\n" for line in rest))
    else:
        path.unlink()
    print(f"{len(rest)} cases still fail")
    return bool(rest)


def _shrink(cases: list[Case]) -> int:
    _prepare()
    for case in cases:
        for failure, small in shrink(case):
            print(f"# {failure.kind} {failure.what} {failure.rung}: {failure.detail}")
            print(source(small))
            print(f"# {small.to_json()}\n")
    return 0
