from modit.core.step import Step

STEP = Step(
    name="spread", inputs=("parts",), outputs=("spread_out",), per_domain=True, sharded=True, totals=("rows", "kinds")
)
