"""Finds coined names and elliptical phrases: `python -m tests.prose_check [--strict] [PATH ...]`.

It reads comments, docstrings and messages of Python files, and the text of Markdown pages outside code blocks. The
rules are regular expressions, so they find candidates and a person decides. `ALLOWED` holds the matches that are right.
"""

from __future__ import annotations

import argparse
import ast
import io
import re
import sys
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("src", "components", "dags", "pipelines", "infra", "feature_repo", "benchmarks", "docs")
PAGES = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")


@dataclass(frozen=True)
class Rule:
    """A pattern that prose should not have.

    Attributes:
        name: what the report calls it.
        pattern: regular expression.
        instead: what to write.
        kind: "prose" for comments, docstrings, messages and pages; "name" for identifiers in code; "docstring".
        within: part of the path that the rule is limited to; empty for all.
    """

    name: str
    pattern: str
    instead: str
    kind: str = "prose"
    within: str = ""


RULES = (
    # Names of the table in the style guide.
    Rule("Front", r"\bFront\b", "RequestMiddleware", "name"),
    Rule("plane", r"\bplane\b", "pca_projection", "name"),
    Rule("marks", r"\bmarks\b", "item_annotations", "name", "serve/"),
    Rule("words", r"\bwords\b|\bWords\b", "string_dictionary", "name", "modit/data/"),
    Rule("story", r"\b(story|Story|facts|Facts)\b", "scenario, checks", "name", "demo_nights"),
    Rule("facts", r"\b(facts|Facts)\b", "history, properties or what they are", "name", "modit/data/"),
    Rule("Rival", r"\b\w*[Rr]ivals?\b", "BaselineModel", "name"),
    Rule("moves", r"\bmoves\b", "perturbations (of the pool), changes_champion (of a log entry)", "name"),
    Rule("Standing", r"\b(Standing|standing)\b", "ReleaseState", "name"),
    Rule("Agreement", r"\b(Agreement|agreement)\b", "ChampionResolver", "name"),
    Rule("World", r"\bWorld\b", "EvaluationContext, RoundContext", "name"),
    Rule("Question", r"\bQuestions?\b", "Query", "name"),
    Rule("Found", r"\bFound\b", "SearchResult", "name"),
    Rule("verbs", r"\b(verbs?|VerbTask|Verb)\b", "commands", "name"),
    # Phrases.
    Rule(
        "who-clause",
        r"(?:^|[.:;,(] )[Ww]ho (?!is\b|are\b|made\b|did\b)[a-z]+(?<!ever)\b(?! (?:you|we)\b)",
        "name the actor",
    ),
    Rule("whoever", r"\b[Ww]hoever\b|\b[Ff]or whom\b|\b[Ww]homever\b", "name the actor"),
    Rule(
        "what-clause",
        r"^(?:\W*)What (?!is\b|are\b|this\b|to\b|you\b)[\w' ]+?\b(passes|needs|says|asks|gets)\b",
        "name the thing",
    ),
    Rule("told of", r"\b(is|are|was|were|be) told (of|that)\b", "notify, report"),
    Rule("bears", r"\bbears?\b", "has"),
    Rule("hangs on", r"\bhangs? on\b", "depends on"),
    Rule("as ... has it", r"\bas [\w' ]+? (has|have) it\b", "as X defines it"),
    Rule("nobody", r"\b(keeps nobody|nobody asked|without a word|holds nobody)\b", "say what happens"),
    Rule("of it", r"(?<!all )(?<!half )\bof it(?=[.;:)]|$)", "repeat the noun"),
    Rule("is no", r"\bis no \w+ of (its|the) own\b", "has no"),
    Rule("not any more", r"\bany more\b", "no longer"),
    Rule("stands there", r"\b(stands?|lies?) (there|beside)\b", "is in, is next to"),
    Rule("so often", r"\bso (often|many|long)\b(?! (that|as|to))", "give the number's name"),
    Rule("at work", r"\b(at work|goes on at|on purpose into)\b", "running"),
    Rule("is asked", r"\b(ask|asks|asked) (it|them|this|him) (?!to\b|for\b)", "call, query, read"),
    Rule("himself", r"\b(he|him|himself|she|herself)\b", "the caller, the user"),
    Rule("wont", r"\b(wont|whence|thereof|therein|hence|thus|likewise|beforehand|withal)\b", "plain English"),
    Rule("workplace", r"\b(this session|the session's|workplace|helper session)\b", "nothing of a workplace"),
    # Google docstrings.
    Rule("section in a sentence", r"^\s*(Args|Returns|Raises|Yields): ?\S", "a section has its own lines", "docstring"),
    Rule("starts with a section", r"\A\s*(Args|Returns|Raises|Yields)\b", "a summary line first", "docstring"),
)

# (part of the path, name of the rule, part of the line): looked at, and right as it is.
ALLOWED: tuple[tuple[str, str, str], ...] = (
    ("tests/prose_check.py", "", ""),
    ("modit/model/", "moves", ""),
)


@dataclass(frozen=True)
class Finding:
    """A line that a rule matches."""

    path: Path
    line: int
    rule: Rule
    text: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.rule.name} (rather: {self.rule.instead}): {self.text.strip()[:100]}"


def _docstrings(tree: ast.AST) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                yield first.lineno, first.value.value


def _names(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Names that a file defines: classes, functions, arguments, assigned variables and attributes."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.lineno, node.name
        elif isinstance(node, ast.arg):
            yield node.lineno, node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.id


def _prose(source: str, tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Comments and strings that have a space, line by line."""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value:
            for number, line in enumerate(node.value.splitlines()):
                yield node.lineno + number, line


def _page(text: str) -> Iterator[tuple[int, str]]:
    """Lines of a Markdown page without code blocks and `code`."""
    inside = False
    for number, line in enumerate(text.splitlines(), start=1):
        if line.lstrip().startswith("```"):
            inside = not inside
        elif not inside:
            yield number, re.sub(r"`[^`]*`", "`code`", line)


def check_file(path: Path) -> list[Finding]:
    """Applies all rules to a file.

    Args:
        path: a `.py` or `.md` file.

    Returns:
        The findings that `ALLOWED` does not except, by line.
    """
    text = path.read_text()
    if path.suffix == ".md":
        parts = {"prose": list(_page(text))}
    else:
        tree = ast.parse(text)
        parts = {"prose": list(_prose(text, tree)), "name": list(_names(tree)), "docstring": list(_docstrings(tree))}
        parts["name"].append((1, path.stem))
    name = str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)
    found = {
        (line + content[: match.start()].count("\n"), rule): match
        for rule in RULES
        if rule.within in name
        for line, content in parts.get(rule.kind, [])
        for match in re.finditer(rule.pattern, content, re.MULTILINE)
    }
    findings = [
        Finding(Path(name), line, rule, match.string[match.start() :].lstrip().partition("\n")[0])
        for (line, rule), match in found.items()
    ]
    return sorted((finding for finding in findings if not _allowed(finding)), key=lambda finding: finding.line)


def _allowed(finding: Finding) -> bool:
    return any(
        part in str(finding.path) and rule in ("", finding.rule.name) and words in finding.text
        for part, rule, words in ALLOWED
    )


def files(paths: list[Path]) -> list[Path]:
    """Python files and pages below the paths; all of the repository's without any."""
    roots = paths or [*(ROOT / folder for folder in FOLDERS), *(ROOT / page for page in PAGES)]
    found = [path for root in roots for path in ([root] if root.is_file() else sorted(root.rglob("*")))]
    return [path.resolve() for path in found if path.suffix in (".py", ".md")]


def main() -> int:
    """Prints the findings and how many there are; with `--strict`, the status is 1 where there are any."""
    parser = argparse.ArgumentParser(description="Finds coined names and elliptical phrases.")
    parser.add_argument("paths", nargs="*", type=Path)
    parser.add_argument("--strict", action="store_true", help="exit with 1 if anything is found")
    args = parser.parse_args()
    findings = [finding for path in files(args.paths) for finding in check_file(path)]
    print(*findings, f"{len(findings)} findings", sep="\n")
    return int(bool(findings) and args.strict)


if __name__ == "__main__":
    sys.exit(main())
