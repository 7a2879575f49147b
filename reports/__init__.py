"""Run folders read and drawn, without changing them: `report` and `blame`; and `plan`, before there is a run."""
