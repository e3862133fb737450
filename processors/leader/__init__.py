"""The leader role: orders leaders' events and broadcasts them."""
