"""The money oracle for long: `python -m oracle` runs both and ends with 1 if the account is wrong anywhere."""

import argparse
import asyncio
import re
import sys
import tempfile
from pathlib import Path

from mortal import nursery
from oracle.runs import Result, faults_and_cancels, random_kills


async def main() -> int:
    parser = argparse.ArgumentParser(prog="oracle", description=__doc__)
    parser.add_argument("--calls", type=int, default=20_000, help="calls of the first run; 0 leaves it out")
    parser.add_argument("--kills", type=int, default=200, help="kills of the second run; 0 leaves it out")
    parser.add_argument("--seed", type=int, default=20261122)
    asked = parser.parse_args()
    results = []
    with tempfile.TemporaryDirectory(prefix="pictor-oracle-") as name:
        folder, log = Path(name), Path(name, "log")
        with nursery(log) as born:
            if asked.calls:
                found = await faults_and_cancels(
                    born, folder / "faults", calls=asked.calls, at_once=48, seed=asked.seed
                )
                results.append(told("faults and cancels", found))
            if asked.kills:
                found = await random_kills(born, folder / "kills", kills=asked.kills, at_once=16, seed=asked.seed)
                found.figures["pictures found again after a kill"] = adopted(log)
                results.append(told("random kills", found))
    return int(any(result.wrong for result in results))


def adopted(log: Path) -> int:
    return sum(map(int, re.findall(r"recovered: (\d+) pictures", log.read_text())))


def told(name: str, result: Result) -> Result:
    width = max(map(len, result.figures))
    lines = [f"{name}:", *(f"  {word:<{width}}  {figure}" for word, figure in result.figures.items())]
    lines += [f"  WRONG: {each}" for each in result.wrong[:50]] or ["  the account agrees with the charge log"]
    sys.stdout.write("\n".join(lines) + "\n\n")
    sys.stdout.flush()
    return result


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
