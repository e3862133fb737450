"""`wakeline worker`: one process with some of the roles."""

import sys
from pathlib import Path

import click

from cli.exit_codes import ExitCode, Failure, as_failure
from cli.options import Chosen, settings_options

ROLES = ("outbox", "webhook", "feed", "strategy", "leader", "account", "statistics", "execution", "sink")


class RoleList(click.ParamType):
    """Names of roles, separated by commas."""

    name = "roles"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        """Return the names in the order of the flow, each once."""
        if isinstance(value, tuple):
            return value
        names = [name.strip() for name in str(value).split(",") if name.strip()]
        for name in names:
            if name not in ROLES:
                import difflib

                near = difflib.get_close_matches(name, ROLES, 1)
                hint = f"; did you mean {near[0]!r}?" if near else f"; roles are {', '.join(ROLES)}"
                self.fail(f"no role {name!r}{hint}", param, ctx)
        if not names:
            self.fail(f"name at least one of {', '.join(ROLES)}", param, ctx)
        return tuple(role for role in ROLES if role in names)


@click.command(short_help="Run some roles against a broker.")
@click.option("--roles", type=RoleList(), required=True, help=f"Comma-separated: {', '.join(ROLES)}.")
@click.option("--name", help="Name of this worker in the run folder (default: its roles).")
@click.option("--http-port", type=click.IntRange(0, 65535), help="Port of /livez, /readyz, /metrics (0: any free one).")
@click.option("--parent", "parent_pid", type=int, hidden=True, help="End when this process is gone (set by `up`).")
@settings_options
def worker(
    roles: tuple[str, ...], name: str | None, http_port: int | None, parent_pid: int | None, chosen: Chosen
) -> None:
    """Run some roles in this process, against a broker that is there.

    It ends on any failure that is not a bad record: have it restarted by compose, Kubernetes or systemd.
    """
    if parent_pid is not None:
        from streams.runtime import die_with_parent

        die_with_parent(parent_pid)
    more: dict[str, object] = {} if http_port is None else {"worker.http_port": http_port}
    settings = chosen.load(more)
    if settings.broker.bootstrap is None:
        raise Failure(
            ExitCode.CONFIGURATION,
            "broker.bootstrap is missing: a worker needs a broker that is there",
            "Give --broker host:port, or run everything by `wakeline up`",
        )
    from streams.worker import run

    Path(settings.data_dir).mkdir(parents=True, exist_ok=True)
    error = run(settings, roles, name=name or "-".join(roles))
    if error is not None:  # the worker has logged it; the code says whether starting again can mend it
        failure = as_failure(error)
        sys.exit(int(ExitCode.FAILURE) if failure is None else failure.exit_code)
