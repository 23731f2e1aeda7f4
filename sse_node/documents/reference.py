"""The page `/docs/api`: the OpenAPI document for people, without a script or another host."""

import json
from html import escape
from importlib.resources import files
from typing import Any, Final

_LEVELS: Final = 2


def reference_page(document: dict[str, Any]) -> bytes:
    """Return the page.

    Args:
        document: as `openapi_document` returns it.
    """
    style = (files("sse_node.documents") / "reference.css").read_text()
    topics = [tag["name"] for tag in document["tags"]]
    links = "".join(f'<a href="#{topic}">{topic}</a>' for topic in topics)
    sections = "".join(_section(document, topic) for topic in topics)
    schemas = "".join(
        f'<h3 id="{name}">{name}</h3>{_code(schema)}'
        for name, schema in sorted(document["components"]["schemas"].items())
    )
    title = f"{document['info']['title']} {document['info']['version']}: HTTP API"
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{style}</style></head><body><header><h1>{escape(title)}</h1>"
        f"<p>{escape(document['info']['description'])}</p>"
        '<nav aria-label="Topics"><a href="#authentication">Authentication</a>'
        f'{links}<a href="#messages">Messages</a><a href="#schemas">Schemas</a>'
        '<a href="/openapi.json">OpenAPI</a><a href="/asyncapi.json">AsyncAPI</a></nav></header>'
        f"<main>{_schemes(document)}{sections}{_webhooks(document)}"
        f'<section id="schemas"><h2>Schemas</h2>{schemas}</section></main></body></html>\n'
    ).encode()


def _schemes(document: dict[str, Any]) -> str:
    rows = "".join(
        f"<tr><td><code>{escape(_where(scheme))}</code></td>"
        f"<td>{_marked(scheme['description'])}</td></tr>"
        for scheme in document["components"]["securitySchemes"].values()
    )
    head = "<tr><th>Where</th><th>What</th></tr>"
    return (
        '<section id="authentication"><h2>Authentication</h2>'
        f"<table><thead>{head}</thead><tbody>{rows}</tbody></table></section>"
    )


def _where(scheme: dict[str, Any]) -> str:
    """Return how a credential is sent."""
    if scheme["type"] == "http":
        return "Authorization: Bearer …"
    return f"?{scheme['name']}=…" if scheme["in"] == "query" else f"Cookie: {scheme['name']}=…"


def _section(document: dict[str, Any], topic: str) -> str:
    operations = "".join(
        _operation(document, method, path, operation)
        for path, item in document["paths"].items()
        for method, operation in item.items()
        if topic in operation["tags"]
    )
    return f'<section id="{topic}"><h2>{topic}</h2>{operations}</section>'


def _operation(document: dict[str, Any], method: str, path: str, operation: dict[str, Any]) -> str:
    content = operation.get("requestBody", {}).get("content", {})
    return (
        f'<article id="{operation["operationId"]}">'
        f"<h3><code>{method.upper()} {escape(path)}</code></h3>"
        f"<p><strong>{escape(operation['summary'])}.</strong> "
        f"{_marked(operation['description'])}</p>"
        + _parameters(operation.get("parameters", []))
        + "".join(_curl(method, path, kind, each) for kind, each in content.items())
        + _answers(document, operation["responses"])
        + "</article>"
    )


def _webhooks(document: dict[str, Any]) -> str:
    operation = document["webhooks"]["message"]["post"]
    (content,) = operation["requestBody"]["content"].values()
    return (
        f'<section id="messages"><h2>Messages</h2><article id="{operation["operationId"]}">'
        f"<h3>{operation['summary']}</h3><p>{operation['description']}</p>"
        + _parameters(operation["parameters"])
        + f"<p>{_shape(content['schema'])}, as</p>{_code(content['example'])}"
        + _answers(document, operation["responses"])
        + "</article></section>"
    )


def _marked(text: str) -> str:
    """Return text whose `code` is marked."""
    parts = escape(text).split("`")
    return "".join(f"<code>{part}</code>" if i % 2 else part for i, part in enumerate(parts))


def _parameters(parameters: list[dict[str, Any]]) -> str:
    rows = "".join(
        f"<tr><td><code>{escape(each['name'])}</code></td><td>{each['in']}</td>"
        f"<td>{_marked(each['description'])}</td></tr>"
        for each in parameters
    )
    head = "<tr><th>Parameter</th><th>In</th><th>What for</th></tr>"
    return f"<table><thead>{head}</thead><tbody>{rows}</tbody></table>" if rows else ""


def _curl(method: str, path: str, media_type: str, content: dict[str, Any]) -> str:
    example = json.dumps(content["example"])
    command = (
        f"curl -X {method.upper()} localhost:3000{path} \\\n"
        f"     -H 'Content-Type: {media_type}' \\\n     -d '{example}'"
    )
    return f'<pre tabindex="0"><code>{escape(command)}</code></pre>'


def _answers(document: dict[str, Any], answers: dict[str, Any]) -> str:
    rows = []
    for status, answer in answers.items():
        if "$ref" in answer:
            answer = document["components"]["responses"][status]
        shapes = ", ".join(
            f"{_shape(each.get('schema') or each.get('itemSchema', {}))} "
            f"<small>{escape(media_type)}</small>"
            for media_type, each in answer.get("content", {}).items()
        )
        rows.append(
            f"<tr><td>{status}</td><td>{_marked(answer['description'])}</td><td>{shapes}</td></tr>"
        )
    head = "<tr><th>Status</th><th>What it says</th><th>Content</th></tr>"
    return f"<table><thead>{head}</thead><tbody>{''.join(rows)}</tbody></table>"


def _shape(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f'<a href="#{name}">{name}</a>'
    if "items" in schema:
        return f"array of {_shape(schema['items'])}"
    return escape(str(schema.get("type", "JSON")))


def _code(value: object) -> str:
    text = json.dumps(value, indent=_LEVELS, ensure_ascii=False)
    return f'<pre tabindex="0"><code>{escape(text)}</code></pre>'
