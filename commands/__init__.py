"""Commands that need no run: names for a config (`listing`), its fields (`configs`), a task to start from (`new`)."""
