"""Mistakes of training loops: scripts that are healthy as they stand, and the one edit that breaks each of them."""

from __future__ import annotations

import contextlib
import io
import tempfile
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from nonsingular.diagnosis.bench import scripts
from nonsingular.diagnosis.loop import Observer, Rehearsal, judged, script

Edits = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Mistake:
    """What makes a healthy script a broken one.

    Attributes:
        name: in words.
        kinds: of finding that are right in the first place.
        edits: what the healthy script says, and what it says instead.
    """

    name: str
    kinds: tuple[str, ...]
    edits: Edits


@dataclass(frozen=True)
class Program:
    """A healthy script with the mistakes that can be made in it."""

    source: str
    mistakes: tuple[Mistake, ...] = ()

    def broken(self, mistake: Mistake) -> str:
        """The script with the mistake in it.

        Raises:
            ValueError: the script does not say what the mistake edits.
        """
        source = self.source
        for old, new in mistake.edits:
            if old not in source:
                raise ValueError(f"the script does not say {old!r}")
            source = source.replace(old, new)
        return source


def mistake(name: str, kinds: str, *edits: tuple[str, str]) -> Mistake:
    """One of them; ``kinds`` are words of a sentence."""
    return Mistake(name, tuple(kinds.split()), edits)


def watched(source: str, seed: int, folder: Path, steps: int | None = None) -> Rehearsal:
    """What is found in a script that runs in a folder, as ``nonsingular watch`` finds it."""
    path = folder / "train.py"
    path.write_text(source.replace("SEED", str(seed)), encoding="utf-8")
    observer = Observer(steps)
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        script.run(path, [], observer)
        return judged(observer, look=True)


def healthy_loops(
    seeds: Sequence[int], on_program: Callable[[str], None] = lambda name: None
) -> list[dict[str, float]]:
    """The loops' statistics of every script as it stands."""
    measured = []
    with tempfile.TemporaryDirectory() as folder:
        for name, program in PROGRAMS.items():
            for seed in seeds:
                numbers = watched(program.source, seed, Path(folder)).numbers
                measured.append({key: s.value for key, s in numbers.items() if key.startswith("loop-")})
            on_program(name)
    return measured


def loop_answers(
    seeds: Sequence[int], on_program: Callable[[str], None] = lambda name: None
) -> list[tuple[str, int, tuple[str, ...], tuple[str, ...]]]:
    """Watch every script as it stands and with each of its mistakes.

    Args:
        seeds: of the scripts.
        on_program: called with the name of each script that has been watched.

    Returns:
        Name, seed, kinds that are right (none of a healthy script), kinds that were found.
    """
    answers: list[tuple[str, int, tuple[str, ...], tuple[str, ...]]] = []
    with tempfile.TemporaryDirectory() as folder:
        for name, program in PROGRAMS.items():
            both: list[tuple[str, tuple[str, ...], str]] = [(name, (), program.source)]
            both += [(f"{name}: {m.name}", m.kinds, program.broken(m)) for m in program.mistakes]
            for case, kinds, source in both:
                for seed in seeds:
                    found = watched(source, seed, Path(folder)).findings
                    answers.append((case, seed, kinds, tuple(f.kind for f in found)))
            on_program(name)
    return answers


UNSCALED_STEP = """        scaler.unscale_(optimizer)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        scaler.step(optimizer)
        scaler.update()
"""
ZERO = "        optimizer.zero_grad()\n"

PROGRAMS: dict[str, Program] = {
    "mnist": Program(
        scripts.MNIST,
        (
            mistake("no zero_grad", "gradients-accumulate", (ZERO, "")),
            mistake(
                "zero_grad after backward",
                "step-too-small",
                (ZERO, ""),
                ("        optimizer.step()", "        optimizer.zero_grad()\n        optimizer.step()"),
            ),
            mistake("no step", "step-too-small", ("        optimizer.step()\n", "")),
            mistake(
                "eval left on",
                "wrong-mode",
                (
                    "def train(model, loader, optimizer, epoch):\n    model.train()",
                    "def train(model, loader, optimizer, epoch):",
                ),
            ),
            mistake("train while testing", "wrong-mode", ("    model.eval()\n", "")),
            mistake(
                "tests not normalised",
                "unlike-tests",
                ("            output = model(data)\n", "            output = model(0.25 * data + 0.5)\n"),
            ),
            mistake(
                "minus", "wrong-sign", ("loss = F.nll_loss(output, target)\n", "loss = -F.nll_loss(output, target)\n")
            ),
            mistake("maximize", "wrong-sign", ("lr=0.002)", "lr=0.002, maximize=True)")),
            mistake(
                "decay of ten",
                "decay-dominates",
                ("optim.Adam(model.parameters(), lr=0.002)", "optim.AdamW(model.parameters(), 0.01, weight_decay=10)"),
            ),
            mistake(
                "a rate for a factor",
                "step-too-small",
                ("optim.Adam(model.parameters(), lr=0.002)", "optim.SGD(model.parameters(), lr=0.001)"),
                (
                    "optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.7)",
                    "optim.lr_scheduler.LambdaLR(optimizer, lambda i: 1e-6)",
                ),
            ),
            mistake(
                "a rate for its factor",
                "step-too-small",
                (
                    "optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.7)",
                    "optim.lr_scheduler.LambdaLR(optimizer, lambda i: 0.002 * 0.7**i)",
                ),
            ),
            mistake(
                "betas exchanged",
                "unlikely-settings",
                ("lr=0.002)", "lr=0.002, betas=(0.999, 0.9))"),
            ),
            mistake("squares of two steps", "unlikely-settings", ("lr=0.002)", "lr=0.002, betas=(0.9, 0.5))")),
            mistake("rate of one", "step-too-large nan-loss", ("lr=0.002", "lr=1.0")),
            mistake(
                "model anew after the optimiser",
                "optimiser-misses",
                ("    scheduler =", "    model = Net()\n    scheduler ="),
            ),
            mistake(
                "readout replaced after the optimiser",
                "optimiser-misses",
                ("    scheduler =", "    model.fc2 = nn.Linear(32, 10)\n    scheduler ="),
            ),
            mistake("huge rate", "step-too-large", ("lr=0.002", "lr=3.0")),
            mistake("tiny rate", "step-too-small", ("lr=0.002", "lr=2e-10")),
            mistake(
                "the first batch again",
                "bad-data",
                ("shuffle=True", "shuffle=False"),
                (
                    "    for batch_idx, (data, target) in enumerate(loader):\n",
                    "    for batch_idx in range(len(loader)):\n        data, target = next(iter(loader))\n",
                ),
            ),
            mistake(
                "decay as if it were momentum",
                "decay-dominates",
                (
                    "optim.Adam(model.parameters(), lr=0.002)",
                    "optim.SGD(model.parameters(), lr=0.01, weight_decay=20.0)",
                ),
            ),
            mistake(
                "new tensor",
                "untrained-parameters",
                (
                    "        loss.backward()",
                    "        loss = torch.tensor(loss.item(), requires_grad=True)\n        loss.backward()",
                ),
            ),
            mistake(
                "schedule per batch",
                "step-too-small",
                ("        optimizer.step()\n", "        optimizer.step()\n        scheduler.step()\n"),
                ("train(model, loader, optimizer, epoch)", "train(model, loader, optimizer, epoch, scheduler)"),
                (
                    "train(model, train_loader, optimizer, epoch)",
                    "train(model, train_loader, optimizer, epoch, scheduler)",
                ),
                ("gamma=0.7", "gamma=0.5"),
            ),
            mistake(
                "a model for each epoch",
                "steps-undone",
                (
                    "    for epoch in range(3):\n",
                    (
                        "    for epoch in range(3):\n        model = Net()\n"
                        "        optimizer = optim.Adam(model.parameters(), lr=0.0002)\n"
                    ),
                ),
            ),
        ),
    ),
    "regression": Program(
        scripts.REGRESSION,
        (
            mistake("no zero_grad", "gradients-accumulate", ("    optimizer.zero_grad()\n", "")),
            mistake(
                "step first",
                "step-too-small",
                ("    loss.backward()\n    optimizer.step()\n", "    optimizer.step()\n    loss.backward()\n"),
            ),
            mistake(
                "step before backward",
                "gradients-accumulate",
                (
                    "    optimizer.zero_grad()\n    loss.backward()\n    optimizer.step()\n",
                    "    optimizer.step()\n    optimizer.zero_grad()\n    loss.backward()\n",
                ),
            ),
            mistake("decay for momentum", "unlikely-settings", ("lr=0.05, momentum=0.9", "0.05, 1e-4, 0.9")),
            mistake("huge rate", "step-too-large nan-loss", ("lr=0.05", "lr=5.0")),
            mistake("tiny rate", "step-too-small", ("lr=0.05", "lr=1e-9")),
            mistake("no backward", "step-too-small", ("    loss.backward()\n", "")),
            mistake(
                "detached",
                "untrained-parameters",
                ("    loss = criterion(pred, y)", "    loss = criterion(pred.detach().requires_grad_(), y)"),
            ),
            mistake("minus", "wrong-sign", ("    loss = criterion(pred, y)", "    loss = -criterion(pred, y)")),
            mistake("neither backward nor step", "step-too-small", ("    loss.backward()\n    optimizer.step()\n", "")),
            mistake(
                "all frozen", "untrained-parameters", ("optimizer = ", "model.requires_grad_(False)\noptimizer = ")
            ),
            mistake("rounded", "untrained-parameters", ("criterion(pred, y)", "criterion(pred.round(), y)")),
        ),
    ),
    "regression by hand": Program(
        scripts.REGRESSION_BY_HAND,
        (
            mistake("row against column", "shape-mismatch", ("(pred - y)", "(pred - y[:, 0])")),
            mistake("minus", "wrong-sign", ("loss = (", "loss = -(")),
            mistake(
                "penalty",
                "decay-dominates",
                ("((pred - y) ** 2).mean()", "criterion(pred, y) + 5 * sum((p**2).sum() for p in model.parameters())"),
            ),
            mistake("beyond what is stable", "step-too-large nan-loss", ("lr=0.05", "lr=1.0")),
            mistake(
                "optimiser made anew",
                "optimiser-reset",
                ("    optimizer.zero_grad()\n", "    optimizer = torch.optim.Adam(model.parameters())\n" + ZERO[4:]),
            ),
        ),
    ),
    "char rnn": Program(
        scripts.CHAR_RNN,
        (
            mistake(
                "clipped away",
                "clipped-away",
                (", 5.0)", ", 1e-7)"),
                ("torch.optim.Adam(model.parameters(), lr=5e-3)", "torch.optim.SGD(model.parameters(), lr=0.5)"),
            ),
            mistake("no zero_grad", "gradients-accumulate", (ZERO, "")),
            mistake(
                "decoder missing",
                "optimiser-misses",
                (
                    "torch.optim.Adam(model.parameters()",
                    "torch.optim.Adam([*model.embed.parameters(), *model.rnn.parameters()]",
                ),
            ),
            mistake("eval on", "wrong-mode", ("    model.train()\n", "    model.eval()\n")),
            mistake(
                "a part is clipped",
                "idle-clipping",
                ("clip_grad_norm_(model.parameters(), 5.0)", "clip_grad_norm_(model.rnn.parameters(), 5.0)"),
            ),
            mistake(
                "clipped before backward",
                "idle-clipping",
                ("        nn.utils.clip_grad_norm_(model.parameters(), 5.0)\n", ""),
                (
                    "        loss.backward()\n",
                    "        nn.utils.clip_grad_norm_(model.parameters(), 5.0)\n        loss.backward()\n",
                ),
            ),
            mistake(
                "the same slice",
                "bad-data",
                ("data[:, i : i + 20], data[:, i + 1 : i + 21]", "data[:, 0:20], data[:, 1:21]"),
            ),
        ),
    ),
    "gan": Program(
        scripts.GAN,
        (
            mistake("discriminator never stepped", "step-too-small", ("        optimizerD.step()\n", "")),
            mistake("no zero_grad of D", "gradients-accumulate", ("        netD.zero_grad()\n", "")),
            mistake(
                "generator's optimiser holds D",
                "optimiser-misses",
                ("optimizerG = torch.optim.Adam(netG", "optimizerG = torch.optim.Adam(netD"),
            ),
            mistake("no zero_grad of G", "gradients-accumulate", ("        netG.zero_grad()\n", "")),
            mistake(
                "judged without its graph",
                "gradient-cut",
                (
                    "errG = criterion(netD(fake), label)",
                    "errG = criterion(netD(fake.detach()), label) + 1e-3 * fake.square().mean()",
                ),
            ),
        ),
    ),
    "fine-tune": Program(
        scripts.FINE_TUNE,
        (
            mistake("warm-up that stays at zero", "step-too-small", ("min(1.0, step / 5)", "min(1.0, step // 500)")),
            mistake(
                "head missing",
                "optimiser-misses",
                ("model.named_parameters() if p.ndim > 1", "model.encoder.named_parameters() if p.ndim > 1"),
                ("model.named_parameters() if p.ndim <= 1", "model.encoder.named_parameters() if p.ndim <= 1"),
            ),
            mistake("train while testing", "wrong-mode", ("    model.eval()\n", "")),
            mistake(
                "eval left on",
                "wrong-mode",
                ("for epoch in range(3):\n    model.train()\n", "model.train()\nfor epoch in range(3):\n"),
            ),
            mistake("no zero_grad", "gradients-accumulate", ("        optimizer.zero_grad(set_to_none=True)\n", "")),
            mistake(
                "encoder cut off",
                "untrained-parameters",
                ("encoder.load_state_dict(checkpoint)\n", ""),
                ("self.dropout(self.encoder(ids).mean(1))", "self.dropout(self.encoder(ids).detach().mean(1))"),
            ),
            mistake(
                "encoder without gradients",
                "untrained-parameters",
                ("encoder.load_state_dict(checkpoint)\n", ""),
                (
                    "        return self.classifier(self.dropout(self.encoder(ids).mean(1)))",
                    (
                        "        with torch.no_grad():\n            h = self.encoder(ids)\n"
                        "        return self.classifier(self.dropout(h.mean(1)))"
                    ),
                ),
            ),
            mistake(
                "warm-up begun anew",
                "step-too-small",
                (
                    "for epoch in range(3):\n    model.train()\n",
                    (
                        "for epoch in range(3):\n"
                        "    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda i: "
                        "min(1.0, (i + 1) / 500) ** 2)\n    model.train()\n"
                    ),
                ),
            ),
            mistake(
                "warm-up longer than training",
                "step-too-small",
                (
                    "schedule = lambda step: min(1.0, step / 5) * max(0.0, (total - step) / total)",
                    "schedule = lambda step: min((step + 1) ** -0.5, (step + 1) * 4000**-1.5) * 4000**0.5",
                ),
            ),
            mistake(
                "a schedule's factor for its rate",
                "step-too-small",
                (
                    "schedule = lambda step: min(1.0, step / 5) * max(0.0, (total - step) / total)",
                    "schedule = lambda step: 32**-0.5 * min((step + 1) ** -0.5, (step + 1) * 400**-1.5)",
                ),
                ("lr=1e-3", "lr=1e-5"),
            ),
        ),
    ),
    "by hand": Program(
        scripts.BY_HAND,
        (
            mistake("plus", "wrong-sign", ("p -= lr", "p += lr")),
            mistake(
                "not in place", "step-too-small", ("            p -= lr * p.grad", "            p = p - lr * p.grad")
            ),
            mistake("huge rate", "step-too-large nan-loss", ("lr = 0.05", "lr = 5.0")),
        ),
    ),
    "l-bfgs": Program(
        scripts.LBFGS, (mistake("no zero_grad", "gradients-accumulate", ("        opt.zero_grad()\n", "")),)
    ),
    "accumulation": Program(
        scripts.ACCUMULATION,
        (
            mistake(
                "no zero_grad",
                "gradients-accumulate",
                ("            optimizer.zero_grad()\n", ""),
                ("    optimizer.zero_grad()\n", ""),
            ),
            mistake(
                "cleared for each part",
                "few-steps",
                ("        loss = F.cross", "        optimizer.zero_grad()\n        loss = F.cross"),
            ),
            mistake(
                "one seed for all steps",
                "same-randomness",
                ("        loss = F.cross", "        torch.manual_seed(0)\n        loss = F.cross"),
            ),
        ),
    ),
    "transfer": Program(
        scripts.TRANSFER,
        (
            mistake(
                "head replaced after the optimiser",
                "optimiser-misses",
                ("loader = DataLoader", "model.fc = nn.Linear(128, 10)\nloader = DataLoader"),
            ),
        ),
    ),
    "amp": Program(
        scripts.AMP,
        (
            mistake(
                "clip before unscale",
                "clipped-away",
                ("        scaler.unscale_(optimizer)\n", ""),
                ("1024.0", "65536.0"),
            ),
            mistake(
                "step without the scaler",
                "step-too-large",
                (UNSCALED_STEP, "        optimizer.step()\n"),
            ),
            mistake(
                "weights in float16",
                "underflow",
                (
                    "model = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))",
                    "model = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10)).half()",
                ),
                ("F.cross_entropy(model(x), y)", "F.cross_entropy(model(x.half()).float(), y)"),
                ("lr=0.05, momentum=0.9", "lr=1e-5"),
                ("scaler.scale(loss).backward()", "loss.backward()"),
                (UNSCALED_STEP, "        optimizer.step()\n"),
            ),
        ),
    ),
    "ema": Program(
        scripts.EMA,
        (
            mistake(
                "tested while it is its beginning",
                "early-average",
                ("e.mul_(0.95).add_(p, alpha=0.05)", "e.mul_(0.999).add_(p, alpha=0.001)"),
            ),
            mistake(
                "statistics stay",
                "stale-statistics",
                ("            for e, b in zip(ema.buffers(), model.buffers()):\n                e.copy_(b)\n", ""),
            ),
            mistake(
                "the copy is trained",
                "optimiser-misses",
                ("optim.AdamW(model.parameters()", "optim.AdamW(ema.parameters()"),
                ("e.mul_(0.95).add_(p, alpha=0.05)", "pass"),
            ),
        ),
    ),
    "compiled": Program(
        scripts.COMPILED,
        (
            mistake("no zero_grad", "gradients-accumulate", (ZERO, "")),
            mistake("eval left on", "wrong-mode", ("    model.train()\n", "")),
        ),
    ),
    "vae": Program(
        scripts.VAE,
        (
            mistake("no step", "step-too-small", ("        optimizer.step()\n", "")),
            mistake("a mean of the divergence", "lopsided-loss", ("-0.5 * torch.sum(", "-0.5 * torch.mean(")),
            mistake("a mean over pixels", "lopsided-loss", ('reduction="sum"', 'reduction="mean"')),
            mistake(
                "a mean over pixels, a sum over the code",
                "lopsided-loss",
                ('reduction="sum"', 'reduction="mean"'),
                (
                    "    kld = -0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp())",
                    "    kld = (-0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp(), dim=1)).mean()",
                ),
            ),
            mistake("variance for deviation", "wrong-noise", ("torch.exp(0.5 * logvar)", "torch.exp(logvar)")),
            mistake("a number for the divergence", "gradient-cut", ("return bce + kld", "return bce + kld.item()")),
            mistake("a detached divergence", "gradient-cut", ("return bce + kld", "return bce + kld.detach()")),
            mistake(
                "logarithm of zero",
                "nan-loss nan-gradient",
                ("torch.sum(1 + logvar", "torch.sum(1 + torch.log(F.relu(logvar - 5))"),
            ),
        ),
    ),
    "codes": Program(
        scripts.CODES,
        (mistake("a detached commitment", "gradient-cut", ("F.mse_loss(z, q)", "F.mse_loss(z.detach(), q)")),),
    ),
    "two parts": Program(
        scripts.TWO_PARTS,
        (
            mistake(
                "encoder missing",
                "optimiser-misses",
                ("itertools.chain(encoder.parameters(), decoder.parameters())", "decoder.parameters()"),
            ),
            mistake(
                "code cut off",
                "untrained-parameters optimiser-misses",
                ("code = encoder(x)", "code = encoder(x).detach()"),
            ),
        ),
    ),
    "episodes": Program(
        scripts.EPISODES,
        (mistake("credit for what came before", "wrong-returns", ("in reversed(range(LENGTH))", "in range(LENGTH)")),),
    ),
    "clipped policy": Program(scripts.CLIPPED_POLICY),
    "two towers": Program(
        scripts.TWO_TOWERS,
        (
            mistake(
                "each shuffled alone",
                "misplaced-targets",
                (
                    "loader = DataLoader(TensorDataset(texts, pictures), 32, shuffle=True)",
                    "one, other = (DataLoader(TensorDataset(kind), 32, shuffle=True) for kind in (texts, pictures))",
                ),
                ("for text, picture in loader:", "for (text,), (picture,) in zip(one, other):"),
            ),
        ),
    ),
    "segmentation": Program(
        scripts.SEGMENTATION,
        (mistake("the image alone is flipped", "misplaced-targets", ("            mask = mask.flip(-1)\n", "")),),
    ),
    "matched": Program(
        scripts.MATCHED,
        (mistake("teacher is trained too", "targets-trained", ('optim.Adam(nets["student"].', "optim.Adam(nets.")),),
    ),
    "by time step": Program(
        scripts.BY_TIME_STEP,
        (
            mistake(
                "detached at each",
                "gradient-cut",
                ("cell(x[rows, t], state)", "cell(x[rows, t], tuple(s.detach() for s in state))"),
            ),
        ),
    ),
    "distillation": Program(
        scripts.DISTILLATION,
        (
            mistake(
                "teacher is trained",
                "optimiser-misses",
                ("optim.SGD(student.parameters()", "optim.SGD(teacher.parameters()"),
            ),
            mistake(
                "both are trained",
                "targets-trained",
                ("optim.SGD(student.parameters()", "optim.SGD([*student.parameters(), *teacher.parameters()]"),
            ),
            mistake(
                "probabilities for their logarithms",
                "probabilities-as-logits",
                ("F.log_softmax(out / T, 1)", "F.softmax(out / T, 1)"),
                ("        loss = 0.5 * loss + F.cross_entropy(out, y)\n", ""),
            ),
        ),
    ),
    "teacher after its student": Program(
        scripts.TEACHER_LAST,
        (
            mistake(
                "probabilities for their logarithms",
                "probabilities-as-logits",
                ("F.log_softmax(student(x) / 2, 1)", "F.softmax(student(x) / 2, 1)"),
            ),
        ),
    ),
    "kept teacher": Program(
        scripts.KEPT_TEACHER,
        (mistake("by the place in the batch", "misplaced-targets", ("soft[rows]", "soft[place]")),),
    ),
    "wgan": Program(
        scripts.WGAN, (mistake("no zero_grad", "gradients-accumulate", ("        opt_d.zero_grad()\n", "")),)
    ),
    "pinn": Program(
        scripts.PINN, (mistake("no zero_grad", "gradients-accumulate", ("    optimizer.zero_grad()\n", "")),)
    ),
    "siamese": Program(scripts.SIAMESE, (mistake("no step", "step-too-small", ("    optimizer.step()\n", "")),)),
    "raw tensors": Program(scripts.RAW_TENSORS),
    "plateau": Program(
        scripts.PLATEAU,
        (
            mistake("huge decay", "decay-dominates", ("weight_decay=1e-4", "weight_decay=5.0"), ("lr=0.1", "lr=0.02")),
            mistake("eval left on", "wrong-mode", ("    model.train()\n", "")),
            mistake(
                "waits for a loss to rise",
                "step-too-small",
                ("factor=0.5", '"max", factor=0.5'),
                ("range(3)", "range(6)"),
            ),
        ),
    ),
    "pseudo-labels": Program(scripts.PSEUDO),
    "saliency": Program(scripts.SALIENCY),
    "one batch": Program(scripts.ONE_BATCH),
    "sam": Program(scripts.SAM),
    "tagger": Program(
        scripts.TAGGER,
        (
            mistake(
                "head missing",
                "optimiser-misses",
                ('groups.append({"params": model.head.parameters(), "lr": 5e-3})\n', ""),
            ),
            mistake("minus", "wrong-sign", ("loss = loss_fn(", "loss = -loss_fn(")),
        ),
    ),
    "two tasks": Program(
        scripts.TASKS,
        (
            mistake(
                "one loss in the place of the other", "untrained-parameters", ("loss = loss + F.mse", "loss = F.mse")
            ),
            mistake(
                "a head of before",
                "optimiser-misses",
                ("loader =", "model(torch.zeros(2, 64))\nmodel.kind = nn.Linear(48, 10)\nloader ="),
            ),
        ),
    ),
    "scaled by hand": Program(
        scripts.SCALED_BY_HAND,
        (
            mistake(
                "clipped while scaled",
                "clipped-away",
                ("        nn.utils.clip_grad_norm_(model.parameters(), 2.0)\n", ""),
                (
                    "        for p in model",
                    "        nn.utils.clip_grad_norm_(model.parameters(), 2.0)\n        for p in model",
                ),
            ),
        ),
    ),
    "waves": Program(
        scripts.WAVES,
        tuple(
            mistake(f"decay of {d} in Adam", "decay-dominates", ("weight_decay=1e-4", f"weight_decay={d}"))
            for d in ("0.03", "0.1")
        ),
    ),
    "waves, decay apart": Program(scripts.WAVES.replace("Adam(", "AdamW(").replace("1e-4", "1e-2")),
    "a rare class": Program(
        scripts.RARE,
        (
            mistake(
                "weights turned over", "lopsided-loss", ("counts.sum() / (2 * counts)", "2 * counts / counts.sum()")
            ),
            mistake(
                "for each sample",
                "lopsided-loss",
                ("counts.sum() / (2 * counts)", "2 * counts / counts.sum()"),
                (
                    "F.cross_entropy(model(a), b, weight=weights)",
                    '(F.cross_entropy(model(a), b, reduction="none") * weights[b]).mean()',
                ),
            ),
        ),
    ),
    "shadow": Program(
        scripts.SHADOW,
        (
            mistake(
                "of too many steps",
                "early-average",
                ("for n, p in model.named_parameters()}, 0.9\n", "for n, p in model.named_parameters()}, 0.999\n"),
            ),
        ),
    ),
    "one cycle": Program(
        scripts.ONE_CYCLE,
        (
            mistake(
                "blocks in a list",
                "unregistered-parameters optimiser-misses",
                ("nn.ModuleList([Block(48), Block(48)])", "[Block(48), Block(48)]"),
            ),
            mistake("train while testing", "wrong-mode", ("    model.eval()\n", "")),
        ),
    ),
    "policy": Program(
        scripts.POLICY, (mistake("minus forgotten", "wrong-sign", ("loss = -(log_probs", "loss = (log_probs")),)
    ),
    "simple": Program(
        scripts.SIMPLE_LOOP,
        (
            mistake("no zero_grad", "gradients-accumulate", (ZERO, "")),
            mistake(
                "one step an epoch",
                "few-steps",
                ("        optimizer.step()\n    x, y = held_out", "    optimizer.step()\n    x, y = held_out"),
            ),
            mistake(
                "sums of an epoch",
                "few-steps",
                (ZERO, ""),
                (
                    "        optimizer.step()\n    x, y = held_out",
                    "    optimizer.step()\n    optimizer.zero_grad()\n    x, y = held_out",
                ),
            ),
            mistake(
                "the first batch alone",
                "few-steps",
                ("        optimizer.step()\n", "        optimizer.step()\n        break\n"),
            ),
            mistake("no batch is full", "bad-data", ("batch_size=32", "batch_size=512, drop_last=True")),
            mistake(
                "weights in bfloat16",
                "underflow",
                ("nn.Linear(64, 10))\n", "nn.Linear(64, 10)).bfloat16()\n"),
                ("out = model(x)", "out = model(x.bfloat16()).float()"),
                ("optim.SGD(model.parameters(), lr=0.1)", "optim.Adam(model.parameters(), lr=2e-5)"),
                ("(model(x).argmax", "(model(x.bfloat16()).argmax"),
            ),
            mistake(
                "first layers frozen",
                "untrained-parameters",
                ("loss_fn = ", "for p in model[:4].parameters():\n    p.requires_grad = False\nloss_fn = "),
                ("lr=0.1", "lr=0.01"),
            ),
            mistake(
                "the best weights, not copied",
                "state-not-copied",
                ("    x, y = held_out", "    best = model.state_dict()\n    x, y = held_out"),
                ("== y).float().mean()\n", "== y).float().mean()\nmodel.load_state_dict(best)\n"),
            ),
            mistake("huge rate", "step-too-large nan-loss", ("lr=0.1", "lr=100.0")),
            mistake(
                "an average copied back",
                "steps-undone",
                (
                    "loader = DataLoader",
                    "average = [p.detach().clone() for p in model.parameters()]\nloader = DataLoader",
                ),
                (
                    "        optimizer.step()\n",
                    (
                        "        optimizer.step()\n"
                        "        for e, p in zip(average, model.parameters()):\n"
                        "            p.data.copy_(e.lerp_(p.data, 0.001))\n"
                    ),
                ),
            ),
            mistake(
                "the first weights loaded back",
                "steps-undone",
                (
                    "loader = DataLoader",
                    "first = {k: v.clone() for k, v in model.state_dict().items()}\nloader = DataLoader",
                ),
                ("for epoch in range(4):\n", "for epoch in range(4):\n    model.load_state_dict(first)\n"),
            ),
            mistake(
                "weights clamped",
                "steps-undone",
                (
                    "        optimizer.step()\n",
                    (
                        "        optimizer.step()\n        for p in model.parameters():\n"
                        "            p.data.clamp_(-0.005, 0.005)\n"
                    ),
                ),
            ),
            mistake("loss times 1e-6", "step-too-small", ("loss = loss_fn(out, y)", "loss = 1e-6 * loss_fn(out, y)")),
            mistake("rate of nine", "step-too-large nan-loss", ("lr=0.1", "lr=9.0")),
            mistake(
                "sorted by class",
                "bad-data",
                (
                    "model = nn",
                    (
                        "order = dataset.tensors[1].argsort()\n"
                        "dataset = TensorDataset(*(t[order] for t in dataset.tensors))\n"
                        "model = nn"
                    ),
                ),
            ),
            mistake(
                "labels of the next sample",
                "bad-data",
                ("model = nn", "dataset = TensorDataset(dataset.tensors[0], dataset.tensors[1].roll(1))\nmodel = nn"),
            ),
        ),
    ),
    "standardised": Program(
        scripts.STANDARDISED,
        (
            mistake(
                "standardised in place",
                "drifting-inputs",
                ("        x = (x - self.mean) / self.std\n", "        x -= self.mean\n        x /= self.std\n"),
            ),
        ),
    ),
    "lengths": Program(
        scripts.LENGTHS,
        (mistake("labels stay in their order", "misplaced-targets", ("x, y = x[order], y[order]", "x = x[order]")),),
    ),
    "collated": Program(
        scripts.COLLATED,
        (
            mistake(
                "labels stay in their order",
                "misplaced-targets",
                ("torch.stack([sample[2] for sample in longest])", "torch.stack([sample[2] for sample in samples])"),
            ),
        ),
    ),
    "reinforce": Program(
        scripts.REINFORCE,
        (
            mistake(
                "returns of what came before",
                "wrong-returns",
                ("reversed(rewards)", "rewards"),
                ("returns.insert(0, R)", "returns.append(R)"),
            ),
            mistake("returns turned round", "wrong-returns", ("returns.insert(0, R)", "returns.append(R)")),
        ),
    ),
    "replicas": Program(
        scripts.REPLICAS,
        (mistake("each drawn anew", "replicas-apart", ("[first, copy.deepcopy(first)]", "[build(), build()]")),),
    ),
    "q-learning": Program(
        scripts.Q_LEARNING, (mistake("past the end", "wrong-returns", (" * best * (1 - done)", " * best")),)
    ),
    "replay": Program(scripts.REPLAY, (mistake("past the end", "wrong-returns", (".values * (1 - d)", ".values")),)),
    "replay, goals after values": Program(
        scripts.REPLAY_LATE, (mistake("past the end", "wrong-returns", (".detach() * (1 - d)", ".detach()")),)
    ),
    "rollout": Program(scripts.ROLLOUT, (mistake("into the next", "wrong-returns", (" * R * (1 - done)", " * R")),)),
    "masked": Program(
        scripts.MASKED,
        (
            mistake(
                "mask of what is there", "inverted-mask", ("key_padding_mask=padding", "key_padding_mask=~padding")
            ),
            mistake("mean of the padding", "inverted-mask", ("(~padding).float()", "padding.float()")),
        ),
    ),
    "hand-written loss": Program(
        scripts.HAND_WRITTEN_LOSS,
        (
            mistake("minus forgotten", "wrong-sign", ("return -log_probs", "return log_probs")),
            mistake(
                "penalty of absolute weights",
                "decay-dominates",
                (
                    "loss = cross_entropy(model(x), y)",
                    "loss = cross_entropy(model(x), y) + sum(p.abs().sum() for p in model.parameters())",
                ),
            ),
        ),
    ),
    "denoiser": Program(
        scripts.DENOISER,
        (
            mistake(
                "root of zero",
                "nan-gradient",
                (" + 1e-6).sqrt()", ").sqrt()"),
                ("distance(noisy + net(noisy), x)", "distance(noisy + net(noisy), x) + distance(x, x + 0 * net(x))"),
            ),
        ),
    ),
    "warm-up": Program(
        scripts.WARM_UP,
        (
            mistake("anew each epoch", "step-too-small", ("step = epoch * len(loader) + i", "step = i")),
            mistake(
                "anew each epoch, by a scheduler",
                "step-too-small",
                (
                    "loader =",
                    "scheduler = optim.lr_scheduler.LambdaLR(optimizer, lambda s: (s % 12 + 1) / 12)\nloader =",
                ),
                ("        for group in optimizer.param_groups:\n", ""),
                ('            group["lr"] = 0.05 * min(1.0, (step + 1) / 10)\n', ""),
                ("        optimizer.step()\n", "        optimizer.step()\n        scheduler.step()\n"),
            ),
        ),
    ),
    "warm restarts": Program(scripts.RESTARTS),
    "forecast": Program(
        scripts.FORECAST,
        (
            mistake("of the last step", "bad-data", ("windows[:, 24:]", "windows[:, 23:24]")),
            mistake("of the one before", "bad-data", ("windows[:, 24:]", "windows[:, 22:23]")),
        ),
    ),
    "translation": Program(
        scripts.TRANSLATION,
        (
            mistake("fed what it is to say", "bad-data", ("given, wanted = tgt[:, :-1]", "given, wanted = tgt[:, 1:]")),
            mistake("no mask", "bad-data", (", tgt_mask=mask", "")),
            mistake(
                "targets of before",
                "bad-data",
                ("given, wanted = tgt[:, :-1], tgt[:, 1:]", "given, wanted = tgt[:, 1:], tgt[:, :-1]"),
            ),
        ),
    ),
    "diffusion": Program(
        scripts.DIFFUSION,
        (
            mistake(
                "variance of the noise",
                "wrong-noise",
                ("(1 - alphas_bar[t, None]).sqrt()", "(1 - alphas_bar[t, None])"),
            ),
            mistake("variance of the signal", "wrong-noise", ("= alphas_bar[t, None].sqrt()", "= alphas_bar[t, None]")),
            mistake(
                "noise drawn anew",
                "wrong-noise",
                ("model(noisy, t), noise)", "model(noisy, t), torch.randn_like(x))"),
            ),
            mistake(
                "both variances",
                "wrong-noise",
                ("= alphas_bar[t, None].sqrt()", "= alphas_bar[t, None]"),
                ("(1 - alphas_bar[t, None]).sqrt()", "(1 - alphas_bar[t, None])"),
            ),
        ),
    ),
    "straight flow": Program(scripts.STRAIGHT_FLOW),
    "ratings": Program(
        scripts.RATINGS,
        (
            mistake("rate of three", "step-too-large", ("lr=0.02", "lr=3.0")),
            mistake("no zero_grad", "gradients-accumulate", (ZERO, "")),
        ),
    ),
    "boxes": Program(
        scripts.BOXES,
        (
            mistake("rate", "step-too-large", ("lr=3e-3", "lr=0.1")),
            mistake(
                "rate, squared errors",
                "step-too-large",
                ("lr=3e-3", "lr=0.1"),
                ("nn.SmoothL1Loss(beta=0.1)", "nn.MSELoss()"),
            ),
        ),
    ),
    "student": Program(scripts.STUDENT, (mistake("no zero_grad", "gradients-accumulate", (ZERO, "")),)),
    "texts": Program(
        scripts.TEXTS,
        (
            mistake(
                "a vocabulary for each split",
                "unlike-tests",
                ("numbers[test[0]], test[1]", "vocabulary(test[0])[test[0]], test[1]"),
            ),
        ),
    ),
    "reviews": Program(
        scripts.REVIEWS,
        (
            mistake("labels shuffled alone", "bad-data", ("stars[order]", "stars[torch.randperm(1024)]")),
            mistake("labels of the text before", "bad-data", ("stars[order]", "stars[order.roll(1)]")),
        ),
    ),
    "citations": Program(
        scripts.CITATIONS, (mistake("no zero_grad", "gradients-accumulate", ("    optimizer.zero_grad()\n", "")),)
    ),
}
