"""`wakeline version`."""

import importlib.metadata
import platform

import click

PARTS = ("faust-streaming", "aiokafka", "msgspec", "pydantic", "chdb", "clickhouse-connect")


@click.command(short_help="Print versions.")
def version() -> None:
    """Print the versions of wakeline, Python, Kafka and the packages that matter."""
    from streams.broker.install import VERSION

    click.echo(f"wakeline {installed('wakeline') or 'from a source folder'}")
    click.echo(f"python {platform.python_version()} on {platform.system()} {platform.machine()}")
    click.echo(f"kafka {VERSION} (embedded broker)")
    for name in PARTS:
        click.echo(f"{name} {installed(name) or 'not installed'}")


def installed(name: str) -> str | None:
    """Return the version of an installed package, None without it."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
