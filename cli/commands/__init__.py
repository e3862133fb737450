"""One file per command of `wakeline`; nothing slow is imported at their top."""
