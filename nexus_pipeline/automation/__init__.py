"""What runs by itself: conditions, sensors, hooks and retention; all off until switched on."""
