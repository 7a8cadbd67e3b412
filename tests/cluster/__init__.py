"""The system as it is deployed on a real cluster; every test is skipped, with the reason, where there is none."""
