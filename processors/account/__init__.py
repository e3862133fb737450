"""The account role: sizes, checks, protects and books; the only maker of `Order`s (design law 8)."""
