"""How commands end when they fail."""

import sys
from typing import Final, NoReturn

import click

EXIT_CONFIG: Final = 3
EXIT_FAILED: Final = 1


def fail(message: str, code: int) -> NoReturn:
    """Print why, and exit."""
    click.echo(f"sse-node: {message}", err=True)
    sys.exit(code)
