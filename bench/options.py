"""Command-line options from the fields of a settings struct: their types, bounds and defaults."""

import re
from collections.abc import Callable, Iterable
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import click
import msgspec

Payload = Annotated[int, msgspec.Meta(ge=60, le=200_000, description="Bytes of an event's data.")]
Streams = Annotated[int, msgspec.Meta(ge=1, le=15_000, description="Open streams of one user.")]
Rate = Annotated[float, msgspec.Meta(ge=0.1, le=10_000, description="Events a second.")]
Rounds = Annotated[int, msgspec.Meta(ge=1, le=100, description="Rounds.")]
Pairs = Annotated[int, msgspec.Meta(ge=1, le=100, description="Pairs of windows, in turn.")]
Seconds = Annotated[float, msgspec.Meta(ge=0.1, le=600, description="Seconds of one window.")]
Warmup = Annotated[float, msgspec.Meta(ge=0, le=60, description="Seconds before the measurement.")]


def option_name(field: str, prefix: str = "") -> str:
    """Return the name of a field's option: without prefix and unit, `measured_s` as seconds.

    Args:
        field: of a settings struct, such as `fanout_streams` or `payload_bytes`.
        prefix: removed, such as `fanout_`.
    """
    name = field.removeprefix(prefix)
    if name in {"measured_s", "s"}:
        return "seconds"
    return re.sub(r"_(s|bytes)$", "", name)


def with_options(
    settings: type[msgspec.Struct], fields: Iterable[str] = (), prefix: str = ""
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return a decorator that adds an option for each field that has a description.

    Args:
        settings: every field has a default.
        fields: only these; empty for all fields.
        prefix: removed from the options' names.
    """
    wanted = set(fields)
    hints = get_type_hints(settings, include_extras=True)

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        for info in reversed(msgspec.structs.fields(settings)):
            if wanted and info.name not in wanted:
                continue
            meta = _meta_of(hints[info.name])
            if meta is None or meta.description is None:
                continue
            option = _option(info, hints[info.name], meta, option_name(info.name, prefix))
            function = option(function)
        return function

    return decorate


def _meta_of(hint: object) -> msgspec.Meta | None:
    if get_origin(hint) is not Annotated:
        return None
    return next((each for each in get_args(hint) if isinstance(each, msgspec.Meta)), None)


def _option(
    info: msgspec.structs.FieldInfo, hint: object, meta: msgspec.Meta, name: str
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    default = info.default if info.default is not msgspec.NODEFAULT else info.default_factory()
    kind = get_args(hint)[0]
    flag = "--" + name.replace("_", "-")
    options: dict[str, Any] = {"help": meta.description, "default": default, "show_default": True}
    if kind is bool:
        options |= {"is_flag": True, "show_default": False}
    elif get_origin(kind) is list:
        item = get_args(kind)[0]
        options |= {"default": ",".join(map(str, default)), "callback": _list_of(item)}
    elif get_origin(kind) is Literal:
        options["type"] = click.Choice(get_args(kind))
    elif kind is int:
        least, most = meta.ge, meta.le
        options["type"] = click.IntRange(
            None if least is None else int(least), None if most is None else int(most)
        )
    else:
        options["type"] = click.FloatRange(meta.ge, meta.le)
    return click.option(flag, info.name, **options)


def _list_of(item: Any) -> Callable[..., list[Any]]:  # noqa: ANN401  (a type, or one with bounds)
    def parse(context: click.Context, parameter: click.Parameter, text: str) -> list[Any]:
        words = [word.strip() for word in text.split(",")]
        try:
            return msgspec.convert(words, list[item], strict=False)
        except msgspec.ValidationError as error:
            raise click.BadParameter(str(error), context, parameter) from error

    return parse
