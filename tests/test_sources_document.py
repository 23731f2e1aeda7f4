"""What docs/sources.md says of settings and metrics is what bridges have."""

import re
from pathlib import Path

import yaml
from click.testing import CliRunner

from sse_node.__main__ import main
from sse_node.bridges.figures import Figures
from sse_node.config.bridges import BRIDGE_SECTIONS, KafkaSettings
from sse_node.config.reading import Sources, flag_of, section_fields

ROOT = Path(__file__).parents[1]
DOCUMENT = (ROOT / "docs/sources.md").read_text("utf-8")


def settings_table() -> str:
    rows = ["| Setting | Default | What for |", "|---|---|---|"]
    for section in BRIDGE_SECTIONS:
        rows.append(f"| | | **{(section.__doc__ or '').removesuffix('.')}** |")
        for item in section_fields(section):
            about = item.metadata
            also = f" (also `{about['also']}`)" if about["also"] else ""
            default = " ".join(filter(None, (about["default"] or "–", about["unit"])))  # noqa: RUF001
            rows.append(f"| `{flag_of(item)}`{also} | {default} | {about['help']} |")
    return "\n".join(rows)


def test_the_table_of_settings_is_complete_and_true() -> None:
    table = DOCUMENT.partition("<!-- settings:begin -->")[2].partition("<!-- settings:end -->")[0]
    assert table.strip() == settings_table()


def test_every_metric_is_there() -> None:
    named = set(re.findall(r"sse_node_bridge_\w+", DOCUMENT))
    assert {name.removesuffix("_total") for name in named} == {
        family.name for family in Figures().families()
    }


def test_the_compose_example_is_one() -> None:
    found = re.search(r"```yaml\n(.*?)```", DOCUMENT, re.DOTALL)
    assert found is not None
    (service,) = yaml.safe_load(found[1]).values()
    command = [*service["command"][:2], "--help"]
    flags = [word for word in service["command"] if word.startswith("--")]
    shown = CliRunner().invoke(main, command).output
    assert [flag for flag in flags if flag not in shown] == []
    settings = Sources({}, service["environment"]).read(KafkaSettings)
    assert (settings.brokers, settings.topic, settings.group) == ("kafka:9092", "orders", "streams")
    assert service["build"] == ".", "the image has every extra"
