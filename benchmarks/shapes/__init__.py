"""Random databases and the way through the product that each of them is sent."""
