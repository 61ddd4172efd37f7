"""Evaluation: metrics, how sure they are, and whether probabilities mean what they say."""
