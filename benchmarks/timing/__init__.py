"""Time contenders side by side, beside what the hardware can do at best."""
