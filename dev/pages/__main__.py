"""pages [--check]: puts the numbers of the pages right, from their tables; --check only compares, and fails where they part."""

import argparse
import sys

from . import lab, orthogonalisation, readme, studies


def main():
    parser = argparse.ArgumentParser(prog="pages", description=__doc__)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    faults = [fault for module in (lab, orthogonalisation, readme, studies) for fault in module.numbers(check)]
    for fault in faults:
        print(f"pages: {fault}", file=sys.stderr)
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
