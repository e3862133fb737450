"""The live view of `wakeline up`: a pure model of the run, its rendering, and the reader that feeds it."""
