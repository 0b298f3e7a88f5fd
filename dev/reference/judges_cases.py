"""The cases that are judged: (rule and settings, shapes, steps in a shape before which the judgement does not begin)."""

PLAIN = ("1x1", "1x5", "7x3")
MATRIX = ("1x1", "1x5", "7x3", "3x7", "5x5", "11x5")
FEW = ("1x5", "7x3", "3x7", "5x5")
FACTORS = ("1x1", "5x3", "3x5", "4x4")
FLAT = ("1x5",) + FACTORS

# SOAP's bases begin with eigenvectors of singular matrices, which are not determined, and go on with QR of nearly
# singular ones.
SINGULAR = {"5x3": 3, "3x5": 3}

# In the bases of its own factors a square gradient is diagonal, and soap-muon divides the rounding errors beside the
# diagonal by themselves where eps is small.
DIAGONALISED = SINGULAR | {"4x4": 1}

ADAMW = "adamw lr=.05 weight-decay=.1 beta1=.9 beta2=.95"
MUON_CASE = "muon lr=.1 weight-decay=.1 momentum=.95"

CASES = [
    ("sgd lr=.1 weight-decay=0 momentum=0", PLAIN),
    ("sgd lr=.05 weight-decay=.2 momentum=0", PLAIN),
    ("sgd lr=.05 weight-decay=0 momentum=.9", PLAIN),
    ("sgd lr=.05 weight-decay=.2 momentum=.8 dampening=.3", PLAIN),
    ("sgd lr=.05 weight-decay=.1 momentum=.9 nesterov=on", PLAIN),
    ("sgd lr=.1 weight-decay=.1 momentum=.9 momentum-form=ema", PLAIN),
    ("sgd lr=.1 weight-decay=.1 momentum=.9 momentum-form=ema nesterov=on", PLAIN),
    ("nesterov lr=.1 momentum=.9 nesterov-form=look-ahead", PLAIN),
    ("nesterov lr=.02 momentum=.9 nesterov-form=shifted", PLAIN),
    ("adagrad lr=.1 weight-decay=0 eps=1e-10", PLAIN),
    ("adagrad lr=.1 weight-decay=.2 eps=.01", PLAIN),
    ("rmsprop lr=.01 weight-decay=0 momentum=0 beta2=.99 eps=1e-8", PLAIN),
    ("rmsprop lr=.01 weight-decay=.2 momentum=.8 beta2=.9 eps=.01", PLAIN),
    ("adadelta lr=1 weight-decay=0 beta2=.9 eps=1e-6", PLAIN),
    ("adadelta lr=.5 weight-decay=.2 beta2=.8 eps=1e-3", PLAIN),
    ("adam lr=.01 weight-decay=0 beta1=.9 beta2=.999 eps=1e-8", PLAIN),
    ("adam lr=.05 weight-decay=.3 beta1=.9 beta2=.95 eps=1e-8", PLAIN),
    ("adam lr=.05 weight-decay=.3 beta1=.9 beta2=.95 eps=.05 eps-mode=inside bias-correction=off", PLAIN),
    ("adam lr=.05 weight-decay=.3 beta1=.9 beta2=.95 eps=.05 eps-mode=uncorrected zero-init-moments=off", PLAIN),
    (ADAMW + " eps=1e-8", PLAIN),
    (ADAMW + " eps=.05 eps-mode=outside", PLAIN),
    (ADAMW + " eps=.05 eps-mode=uncorrected", PLAIN),
    (ADAMW + " eps=.05 eps-mode=inside", PLAIN),
    (ADAMW + " eps=1e-8 bias-correction=off", PLAIN),
    (ADAMW + " eps=1e-8 zero-init-moments=off", PLAIN),
    (ADAMW + " eps=1e-8 bias-correction=off zero-init-moments=off", PLAIN),
    (ADAMW + " eps=.05 eps-mode=uncorrected bias-correction=off", PLAIN),
    (ADAMW + " eps=1e-6 eps-max=.5 eps-rate=.4 eps-start=.25 eps-end=.75", PLAIN),
    (ADAMW + " eps=1e-6 eps-max=.5 eps-rate=.4 eps-start=.25 eps-end=.75 eps-mode=inside", PLAIN),
    (ADAMW + " eps=1e-8 cautious=on", PLAIN),
    ("nested-adam lr=.01 weight-decay=.1 beta1=.9 beta2=.95 eps=1e-8", PLAIN),
    ("nested-adam lr=.01 weight-decay=.5 beta1=.8 beta2=.99 eps=.05 cautious=on", PLAIN),
    ("adam-cpr lr=.03 beta1=.9 beta2=.95 eps=1e-8 cpr-warmup=5", PLAIN),
    ("signsgd lr=.01 weight-decay=.1", PLAIN),
    ("signsgd lr=.01 weight-decay=.5 cautious=on", PLAIN),
    ("signum lr=.01 weight-decay=.1 momentum=.9", PLAIN),
    ("signum lr=.05 weight-decay=.5 momentum=.8 cautious=on", PLAIN),
    ("lion lr=.01 weight-decay=.1 beta1=.9 beta2=.99", PLAIN),
    ("lion lr=.05 weight-decay=.5 beta1=.8 beta2=.9 cautious=on", PLAIN),
    (MUON_CASE, MATRIX),
    (MUON_CASE + " ns=cubic", MATRIX),
    (MUON_CASE + " ns=modula", MATRIX),
    (MUON_CASE + " ns=varied", MATRIX),
    (MUON_CASE + " ns=polar-express", MATRIX),
    (MUON_CASE + " ns=track3", MATRIX),
    (MUON_CASE + " ns=exact", MATRIX),
    (MUON_CASE + " muon-scale=none", FEW),
    (MUON_CASE + " muon-scale=moonshot", FEW),
    (MUON_CASE + " muon-scale=bernstein", FEW),
    (MUON_CASE + " muon-scale=early", FEW),
    (MUON_CASE + " muon-scale=gradient", FEW),
    (MUON_CASE + " muon-scale=nuclear", FEW),
    (MUON_CASE + " nesterov=off ns-steps=3", FEW),
    (MUON_CASE + " ns=track3 ns-steps=9 cautious=on", FEW),
    (MUON_CASE + " momentum-start=.8 momentum-warmup=6 momentum-cooldown=5", FEW),
    (MUON_CASE + " momentum-start=.6 momentum-warmup=18 momentum-cooldown=10 nesterov=off", FEW),
    ("muon lr=.1 weight-decay=0 momentum=0", FEW),
    ("spectral lr=.1 weight-decay=.1", FEW),
    ("spectral lr=.1 weight-decay=.5 ns=cubic ns-steps=12 muon-scale=bernstein cautious=on", FEW),
    ("normuon lr=.1 weight-decay=.1 momentum=.95 beta2=.95 eps=1e-10 muon-scale=original", FEW),
    ("normuon lr=.1 weight-decay=.5 momentum=.9 beta2=.8 eps=.1 nesterov=off ns=track3 muon-scale=moonshot "
     "cautious=on", FEW),
    ("normuon lr=.1 weight-decay=.1 momentum=.95 beta2=.95 eps=1e-10 muon-scale=gradient", FEW),
    ("muonh lr=.1 momentum=.95", FEW),
    ("muonh lr=.05 momentum=.9 nesterov=off ns=polar-express momentum-start=.8 momentum-warmup=6 momentum-cooldown=5",
     FEW),
    ("normuonh lr=.1 momentum=.95 beta2=.95 eps=1e-10", FEW),
    ("normuonh lr=.05 momentum=.9 beta2=.8 eps=.1 nesterov=off ns=modula", FEW),
    ("adamh lr=.1 beta1=.9 beta2=.95 eps=1e-8", PLAIN),
    ("muon2 lr=.1 weight-decay=.0125 momentum=.95 beta2=.95 eps=1e-10", FEW),
    ("muon2 lr=.05 weight-decay=.5 momentum=.9 beta2=.8 eps=.05 nesterov=off ns=varied muon-scale=none cautious=on",
     FEW),
    ("dion lr=.1 weight-decay=.1 momentum=.95 rank=0", FLAT),
    ("dion lr=.1 weight-decay=.1 momentum=.9 rank=2", FLAT),
    ("dion lr=.1 weight-decay=.5 momentum=.9 rank=2 cautious=on", FACTORS),
    ("rownorm lr=.1 weight-decay=0 momentum=.95", MATRIX),
    ("rownorm lr=.05 weight-decay=.5 momentum=.8 nesterov=on cautious=on", MATRIX),
    ("shampoo lr=.05 weight-decay=.2 beta1=.9 beta2=.95 eps=.1 sides=two refresh=1 graft=none", FLAT),
    ("shampoo lr=.05 weight-decay=.2 beta1=.9 beta2=.95 eps=.1 sides=two refresh=3 graft=adam", FLAT),
    ("shampoo lr=.05 weight-decay=.2 beta1=0 beta2=.9 eps=.05 sides=two refresh=3 graft=none bias-correction=off",
     FACTORS),
    ("shampoo lr=.05 weight-decay=.2 beta1=.9 beta2=.95 eps=.001 sides=one refresh=1 graft=none", FLAT),
    ("shampoo lr=.05 weight-decay=.5 beta1=.8 beta2=.9 eps=.01 sides=one refresh=3 graft=adam bias-correction=off "
     "cautious=on", FACTORS),
    ("shampoo lr=.05 weight-decay=.2 beta1=.9 beta2=.95 eps=0 sides=two refresh=4 graft=none", FLAT),
    ("shampoo lr=.05 weight-decay=.2 beta1=.9 beta2=.95 eps=0 sides=one refresh=1 graft=adam", FACTORS),
    ("soap lr=.05 weight-decay=.1 beta1=.95 beta2=.95 eps=1e-8 refresh=1", FACTORS, SINGULAR),
    ("soap lr=.01 weight-decay=.5 beta1=.9 beta2=.9 eps=.01 refresh=3 cautious=on", FACTORS, SINGULAR),
    ("soap-muon lr=.1 weight-decay=.1 momentum=.95 beta2=.9 eps=1e-8 refresh=1", FACTORS, DIAGONALISED),
    ("soap-muon lr=.1 weight-decay=.5 momentum=.9 nesterov=off beta2=.8 eps=.01 refresh=4 ns=track3 "
     "muon-scale=nuclear cautious=on", FACTORS, SINGULAR),
    ("soap-h lr=.1 beta1=.95 beta2=.9 eps=.01 refresh=1", FACTORS, DIAGONALISED),
    ("soap-h lr=.05 beta1=.8 beta2=.9 eps=.1 refresh=3", FACTORS, SINGULAR),
    ("kl-soap lr=.1 beta1=.95 beta2=.9 eps=1e-8 refresh=1", FACTORS, SINGULAR),
    ("kl-soap lr=.05 beta1=.9 beta2=.8 eps=.01 refresh=3", FACTORS, SINGULAR),
    ("dynmuon lr=.02 weight-decay=.025 momentum=.95 power-start=.25 power-end=-.25 power-middle=.3 power-width=.2",
     FEW),
    ("dynmuon lr=.1 weight-decay=.5 momentum=.8 nesterov=off power-start=-.9 power-end=.7 power-middle=.5 "
     "power-width=.05 ns=jordan cautious=on", FEW),
    ("pmuon lr=.1 weight-decay=.025 momentum=.95 beta2=.95 whitening=.3 eps=1e-6", ("1x1", "4x4")),
    ("pmuon lr=.1 weight-decay=.025 momentum=.95 beta2=.95 whitening=.3 eps=.05", FACTORS),
    ("pmuon lr=.05 weight-decay=.5 momentum=.8 nesterov=off beta2=.5 whitening=.5 eps=.3 ns=jordan cautious=on",
     FACTORS),
    ("sinksoap lr=.04 weight-decay=.025 momentum=.95 beta2=.95 eps=1e-8", FACTORS, SINGULAR),
    ("sinksoap lr=.1 weight-decay=.5 momentum=.8 nesterov=off beta2=.8 eps=.1 cautious=on", FACTORS, SINGULAR),
    ("muown lr=.02 momentum=.95 beta1=.9 beta2=.95 eps=1e-8 target-norm=2.5", FEW),
    ("muown lr=.1 momentum=.8 nesterov=off beta1=.6 beta2=.9 eps=.1 target-norm=.3 ns=jordan", FEW),
    (MUON_CASE + " ns=muown", MATRIX),
]
