"""The verb of the command line that shows a run's verdict."""

from __future__ import annotations

import argparse


def add_core_verbs(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds it to the command line."""
    parser = verbs.add_parser("verdict", help="show the verdict of a run, and where its report is")
    parser.add_argument("--run", required=True, metavar="URI", help="the run's folder: a path or an address like s3://")
    parser.set_defaults(verb=_verdict)


def _verdict(chosen: argparse.Namespace) -> int:
    from modit.core.verdict import data_docs, read_verdict, report_pages, served_figures, verdict_table

    print(verdict_table(read_verdict(chosen.run)))
    print(*(f"served:  {line}" for line in served_figures(chosen.run)), sep="\n")
    print(*(f"report:  {page}" for page in report_pages(chosen.run)), sep="\n")
    print(*(f"data:    {page}" for page in data_docs(chosen.run)), sep="\n")
    return 0
