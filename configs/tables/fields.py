"""What the tables share besides their bases: the fields of the models, and the published methods of the main tables.

This file is not a table.
"""

AFA = {"model.name": "afa"}
CPFEAN = {"model.name": "cpfean"}
MODELS = {  # one of each, by the name that the tables print
    "VSE++ (mean)": {"model.name": "vsepp"},
    "VSE∞ (GPO)": {"model.name": "vseinf"},
    "AFA": AFA,
    "SCAN (t2i)": {"model.name": "scan"},
    "late interaction": {"model.name": "late"},
    "CPFEAN": CPFEAN,
}
LEFT_OUT = (
    "On scenes, scenes_minilm and f8k CPFEAN has no visual Transformer and no word GCN; its gate sees the cosine "
    "alone. It has the corpus prior (γ = 1) and no prominence from the pair (β = 0)."
)
WHOLE_CPFEAN = CPFEAN | {  # with all parts that cost time
    "model.graph.layers": 1,
    "model.words.layers": 1,
    "model.fusion.gate": "region",
}
METHODS = (
    "VSE++ (re-impl. by VSE_infty)",
    "SCAN (T2I_AVE)",
    "SCAN (I2T_AVE)",
    "SCAN (AVE+LSE)",
    "SCAN (LSE+AVE)",
    "VSRN",
    "IMRAM (Full)",
    "CAMERA",
    "GSMN",
    "SGRAF",
    "DSRAN",
    "VSE_infty (GPO)",
    "NAAF",
    "CHAN",
    "HREM (fusion)",
    "ESL-H",
    "AFA",
    "CPFEAN",
)
