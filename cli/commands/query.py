"""`wakeline query`: SQL, answered by the running sink (chDB lets one process in at a time), else from the folder."""

import sys

import click

from cli.exit_codes import ExitCode, Failure
from cli.ledger import sink_url
from cli.options import Chosen, settings_options


@click.command(short_help="Ask ClickHouse in SQL.")
@click.argument("sql", required=False)
@click.option(
    "--format",
    "fmt",
    type=click.Choice(["table", "json", "csv"]),
    default="table",
    show_default=True,
    help="How the answer is written.",
)
@click.option("--url", help="Ask the sink at this address, e.g. http://sink:8080 (default: that of the data folder).")
@settings_options
def query(sql: str | None, fmt: str, url: str | None, chosen: Chosen) -> None:
    """Ask ClickHouse: wakeline query "SELECT count() FROM fills".

    Without SQL, or with -, it is read from standard input. While `wakeline up` runs, its sink answers; after that
    the data folder is opened for this one statement.
    """
    if sql is None or sql == "-":
        if sys.stdin.isatty():
            raise click.UsageError('give the SQL, e.g. wakeline query "SELECT * FROM fills LIMIT 5"')
        sql = sys.stdin.read()
    if not sql.strip():
        raise click.UsageError("the SQL is empty")
    settings = chosen.load()
    data_dir = settings.data_dir.absolute()
    from sinks.clickhouse.query import ask
    from sinks.clickhouse.reader import QueryRefused

    address = url if url is not None else sink_url(data_dir)
    try:
        answer = ask(settings.clickhouse, data_dir, address, sql, fmt)
    except QueryRefused as error:
        silent = isinstance(error.__cause__, OSError)
        raise Failure(ExitCode.NOT_RUNNING if silent else ExitCode.FAILURE, str(error).rstrip(".")) from error
    click.echo(answer.rstrip("\n"))
