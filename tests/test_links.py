"""Every relative link and every anchor in the documents leads somewhere."""

import re
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
IGNORED = {"node_modules", "dist", "build"}
DOCUMENTS = sorted(
    path
    for path in ROOT.rglob("*.md")
    if not any(part in IGNORED or part.startswith(".") for part in path.relative_to(ROOT).parts)
)


def text_of(document: Path) -> str:
    """Return a document without its code."""
    text = re.sub(r"^( *)```.*?^\1```", "", document.read_text("utf-8"), flags=re.DOTALL | re.M)
    return re.sub(r"`[^`\n]*`", lambda code: code[0].replace("](", "] ("), text)


def anchors_of(document: Path) -> set[str]:
    """Return the anchors that GitHub makes of the headings of a document."""
    seen: Counter[str] = Counter()
    anchors = set(re.findall(r'<a (?:id|name)="([^"]+)"', text_of(document)))
    for heading in re.findall(r"^#{1,6} (.+)$", text_of(document), re.MULTILINE):
        shown = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading.strip()).lower()
        anchor = re.sub(r"[^\w\- ]", "", shown).replace(" ", "-")
        anchors.add(f"{anchor}-{seen[anchor]}" if seen[anchor] else anchor)
        seen[anchor] += 1
    return anchors


def links_of(document: Path) -> list[str]:
    """Return the relative links of a document."""
    links = re.findall(r"\]\(<?([^)\s>]+)>?(?: \"[^\"]*\")?\)", text_of(document))
    return [link for link in links if not re.match(r"[a-z]+:", link)]


def broken_links(document: Path, root: Path = ROOT) -> list[str]:
    """Return the relative links of a document that lead nowhere, or out of a folder."""
    broken = []
    for link in links_of(document):
        name, _, anchor = link.partition("#")
        target = document.parent / name if name else document
        is_there = target.resolve().is_relative_to(root) and target.exists()
        if not is_there or (anchor and anchor not in anchors_of(target)):
            broken.append(link)
    return broken


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_somewhere(document: Path) -> None:
    assert broken_links(document) == []


def test_documents_and_links_are_found() -> None:
    assert {"README.md", "webhooks.md"} <= {document.name for document in DOCUMENTS}
    assert sum(len(links_of(document)) for document in DOCUMENTS) > 50


def test_a_broken_link_is_found(tmp_path: Path) -> None:
    document = ROOT / "docs/redis.md"
    assert "rights" in anchors_of(document)
    wrong = tmp_path / "wrong.md"
    wrong.write_text("# A `b`, c\n[x](nowhere.md) [y](#a-b-c) [z](#d)\n```\n[code](no)\n```\n")
    assert anchors_of(wrong) == {"a-b-c"}
    assert broken_links(wrong, tmp_path) == ["nowhere.md", "#d"]
