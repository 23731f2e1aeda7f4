"""What README says of settings and commands is what the code does."""

import re
from pathlib import Path

from click.testing import CliRunner

from sse_node.__main__ import main
from sse_node.access.rules import RULES
from sse_node.config.reading import all_settings, flag_of

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")


def settings_table() -> str:
    rows = ["| Setting | Default | What for |", "|---|---|---|"]
    for _, item in all_settings():
        about = item.metadata
        flag = flag_of(item)
        also = f" (also `{about['also']}`)" if about["also"] else ""
        default = " ".join(filter(None, (about["default"] or "–", about["unit"])))  # noqa: RUF001
        rows.append(f"| `{flag}`{also} | {default} | {about['help']} |")
    return "\n".join(rows)


def rules_table() -> str:
    rows = ["| Route | Requires |", "|---|---|"]
    rows += [f"| `{method} {path}` | {rule.value} |" for (method, path), rule in RULES.items()]
    return "\n".join(rows)


def test_the_table_of_rules_is_complete_and_true() -> None:
    table = README.partition("<!-- rules:begin -->")[2].partition("<!-- rules:end -->")[0]
    assert table.strip() == rules_table()


def test_the_table_of_settings_is_complete_and_true() -> None:
    table = README.partition("<!-- settings:begin -->")[2].partition("<!-- settings:end -->")[0]
    assert table.strip() == settings_table()


def test_every_command_that_is_named_exists() -> None:
    named = set(re.findall(r"\bsse-node ([\w-]*\w)", README)) - {"itself", "returns", "nodes"}
    assert named
    assert named <= set(main.commands)


def test_every_make_target_that_is_named_exists() -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    for target in set(re.findall(r"(?:`|^)make ([a-z]+)", README, re.MULTILINE)):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_script_prints_what_the_node_runs() -> None:
    result = CliRunner().invoke(main, ["script"])
    assert result.exit_code == 0
    assert "redis.call('XADD'" in result.output
    assert "-- ARGV[4…] channel, payload" in result.output
