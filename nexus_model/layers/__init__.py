"""Leaf tensor machinery: knows neither tables nor the configuration of others."""
