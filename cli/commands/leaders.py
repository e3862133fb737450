"""`wakeline leaders`: who can be followed, and under what terms."""

import json
from typing import Any

import click

from cli.deciding import Desk, add_move, as_text, changes_of, json_option, set_option, table, unset_option
from cli.exit_codes import ExitCode, Failure
from cli.options import Chosen, place_options


@click.group(short_help="Leaders: list, show, add, set, pause, resume, close.")
def leaders() -> None:
    """Leaders: strategies, accounts that lead, and external feeds.

    What is decided here stands beside the configuration file, and survives a restart with the same file.
    """


@leaders.command("list")
@json_option
@place_options
def list_leaders(as_json: bool, chosen: Chosen) -> None:
    """List the leaders with their kind, status and number of followers."""
    with Desk(chosen) as desk:
        known = desk.store.known()
    found = [known.leaders[name] for name in sorted(known.leaders)]
    if as_json:
        rows = [
            {
                "leader": one.leader,
                "kind": one.kind,
                "status": one.status,
                "source": one.source,
                "followers": known.followers[one.leader],
                "title": one.settings.get("title", ""),
            }
            for one in found
        ]
        click.echo(json.dumps(rows))
        return
    cells = [
        (
            one.leader,
            one.kind,
            one.status,
            one.source or "-",
            known.followers[one.leader],
            one.settings.get("title", ""),
        )
        for one in found
    ]
    click.echo(table(cells, ("LEADER", "KIND", "STATUS", "SOURCE", "FOLLOWERS", "TITLE")))


@leaders.command()
@click.argument("name")
@json_option
@place_options
def show(name: str, as_json: bool, chosen: Chosen) -> None:
    """Show everything about a leader: terms, guards, defaults of its followers, where a feed sends its trades."""
    with Desk(chosen) as desk:
        known, settings = desk.store.known(), desk.settings
        pauses = {pause.scope: pause for pause in desk.store.pauses() if pause.paused}
    leader = known.leaders.get(name)
    if leader is None:
        raise Failure(ExitCode.USAGE, f"no leader {name!r}{_near(name, known.leaders)}")
    about: dict[str, Any] = {
        "leader": leader.leader,
        "kind": leader.kind,
        "status": leader.status,
        "source": leader.source,
        "followers": known.followers[name],
        "paused_by_hand": [scope for scope in ("*", f"leader:{name}") if scope in pauses],
    }
    if leader.kind == "feed":
        about |= _hook(name, settings)
    if as_json:
        click.echo(json.dumps({**about, "settings": leader.settings}))
        return
    rows = [(key, as_text(value)) for key, value in about.items() if value not in ("", [])]
    rows += [(key, as_text(value)) for key, value in leader.settings.items() if key != "defaults"]
    rows += [(f"defaults.{key}", as_text(value)) for key, value in leader.settings.get("defaults", {}).items()]
    click.echo(table(rows, ("FIELD", "VALUE")))


@leaders.command()
@click.argument("name")
@click.option("--kind", type=click.Choice(["account", "feed"]), required=True, help="What leads.")
@click.option("--source", default="", help="Kind account: the account whose trades lead.")
@set_option
@json_option
@place_options
def add(name: str, kind: Any, source: str, assignments: tuple[str, ...], as_json: bool, chosen: Chosen) -> None:
    """Make a leader: wakeline leaders add desk --kind account --source main --set max_followers=100.

    Settings of its followers start with `defaults.`, e.g. --set defaults.max_day_orders=20. A strategy of the
    configuration is a leader without being added.
    """
    from schemas.leaders import LeaderChanged

    with Desk(chosen) as desk, desk.refusing():
        if desk.store.leader(name) is not None:
            raise Failure(ExitCode.USAGE, f"there is a leader {name!r} already", "Change it by `wakeline leaders set`")
        leader = LeaderChanged(
            now_ms=desk.now_ms(),
            leader=name,
            kind=kind,
            status="active",
            settings=changes_of(assignments, {}),
            source=source,
        )
        desk.tell(desk.store.put_leader(leader), f"leader {name} added", as_json, leader=name)
        if kind == "feed" and not as_json:
            hook = _hook(name, desk.settings)
            click.echo(f"its trades go to {hook['url']}, its secret into {hook['secret']}", err=True)


@leaders.command("set")
@click.argument("name")
@set_option
@unset_option
@json_option
@place_options
def change(
    name: str,
    assignments: tuple[str, ...],
    unset: tuple[str, ...],
    as_json: bool,
    chosen: Chosen,
) -> None:
    """Change some settings of a leader; those of its followers start with `defaults.`."""
    if not assignments and not unset:
        raise click.UsageError("nothing to change: give --set KEY=VALUE or --unset KEY")
    with Desk(chosen) as desk, desk.refusing():
        before = desk.store.leader(name)
        settings = {} if before is None else before.settings
        changes = changes_of(assignments, settings)
        plain = [key for key in unset if not key.startswith("defaults.")]
        for key in plain:
            if key not in settings:
                raise Failure(ExitCode.USAGE, f"--unset {key}: unknown key{_near(key, settings, 'known are')}")
        gone = {key.removeprefix("defaults.") for key in unset if key.startswith("defaults.")}
        if gone:
            defaults = changes.get("defaults", settings.get("defaults", {}))
            changes["defaults"] = {key: value for key, value in defaults.items() if key not in gone}
        taken = desk.store.edit("leader", name, changes, desk.now_ms(), plain)
        desk.tell(taken, f"leader {name} changed", as_json, leader=name)


for _event, _done, _words in (
    ("pause", "paused", "Pause a leader: its entries are not copied until it resumes, its exits are."),
    ("resume", "resumed", "Let a paused leader go on."),
    ("close", "closed", "Close a leader for good; followers do what their `on_leader_closed` says."),
):
    add_move(leaders, "leader", _event, _done, _words)


def _hook(name: str, settings: Any) -> dict[str, str]:
    """Return where a feed sends its trades, and where its secret is looked for (never the secret)."""
    from streams import runtime
    from streams.webhook import secret_variable

    port = settings.webhook.port
    running = [one for one in runtime.processes(settings.data_dir.absolute()) if one.webhook_port]
    port = running[0].webhook_port if running else port
    own = next((one for one in settings.leaders if one.name == name), None)
    file = None if own is None else own.secret_file
    where = f"the file {file}" if file is not None else f"the environment variable {secret_variable(name, own)}"
    shown = str(port) if port else "PORT (told here once `wakeline up` runs)"
    return {"url": f"http://{settings.webhook.host}:{shown}/hooks/{name}", "secret": where}


def _near(name: str, names: Any, what: str = "leaders are") -> str:
    from streams.problems import nearest

    return nearest(name, names, what)
