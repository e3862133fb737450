"""`wakeline completion`: what a shell needs to complete our commands."""

import click


@click.command(short_help="Print the completion of a shell.")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the completion script of a shell.

    \b
    bash: wakeline completion bash >> ~/.bash_completion
    zsh:  wakeline completion zsh > ~/.zfunc/_wakeline     (with ~/.zfunc in fpath)
    fish: wakeline completion fish > ~/.config/fish/completions/wakeline.fish
    """
    from click.shell_completion import get_completion_class

    found = get_completion_class(shell)
    assert found is not None
    script = found(ctx.find_root().command, {}, "wakeline", "_WAKELINE_COMPLETE")
    # click's `source` for bash runs bash to look at its version, which fails on machines without it: fill it in here.
    click.echo(script.source_template % script.source_vars())
