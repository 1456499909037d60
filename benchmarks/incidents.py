"""From alerts to incidents, into benchmarks/out/incidents.json: who is blamed (`shops`), and how bad it is (`planted`).

Rules were developed on Online Boutique, severity on the series `planted.DEVELOP`; both are told beside those that were
left for the report.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.planted import DEVELOP, REPORT, planted_concordance  # noqa: E402
from benchmarks.shops import SHOPS, shop  # noqa: E402


def measured(data: Path, parts: list[str], profile: str, budgets: list[float]) -> dict[str, Any]:
    """The figures of these parts."""
    report: dict[str, Any] = {}
    for name, folder in SHOPS.items():
        if name in parts:
            report[name] = {f"{budget:g} a day": shop(data / folder, profile, budget) for budget in budgets}
            print(name, json.dumps(report[name], indent=2), flush=True)
    if "severity" in parts:
        report["severity_developed_on"] = planted_concordance(data, DEVELOP, profile)
        report["severity"] = planted_concordance(data, REPORT, profile)
        print("severity", json.dumps(report["severity"]["mean"], indent=2))
    return report


def main() -> None:
    """Measure, print, and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data", type=Path, required=True, help="the folder that holds nezha_*, smd, asd, jumpstarter_d2"
    )
    parser.add_argument("--parts", nargs="+", default=[*SHOPS, "severity"], choices=[*SHOPS, "severity"])
    parser.add_argument("--profile", default="fast", help="of the detectors")
    parser.add_argument("--budgets", nargs="+", type=float, default=[10.0, 200.0], help="alerts a day, of a shop")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "out" / "incidents.json")
    given = parser.parse_args()
    report = measured(given.data, given.parts, given.profile, given.budgets)
    before = json.loads(given.out.read_text()) if given.out.exists() else {}
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps(before | report, indent=2))
    print(f"written to {given.out}")


if __name__ == "__main__":
    main()
