"""Models that people train, against double backward in float64 through the user's own model on all the data at once."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from nonsingular.curvature import GaussNewton, Hessian
from nonsingular.errors import InputError

LANGUAGE = {"attn_pdrop": 0.0, "resid_pdrop": 0.0, "embd_pdrop": 0.0}
TOKENS, LONGEST = 23, 8


def reference(loss, model, V):
    """``[P, k]``: products of the Hessian of ``loss()``, by double backward."""
    params = [p for p in model.parameters() if p.requires_grad]
    with sdpa_kernel(SDPBackend.MATH):
        gradients = torch.autograd.grad(loss(), params, create_graph=True, materialize_grads=True)
        gradient = torch.cat([g.flatten() for g in gradients])
        columns = [torch.autograd.grad(gradient @ v, params, retain_graph=True, materialize_grads=True) for v in V.T]
    return torch.stack([torch.cat([h.flatten() for h in column]) for column in columns], dim=1).detach()


def holds(model, loss_fn, batches, whole, rtol=1e-9, **options):
    """The Hessian's products are those of the whole data's loss, recorded and recomputed."""
    size = sum(p.numel() for p in model.parameters() if p.requires_grad)
    V = torch.randn(size, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    expected = reference(whole, model, V)
    H = Hessian(model, loss_fn, batches, **options)
    for got in (H @ V, torch.stack([H.recomputed_product(v) for v in V.T], 1)):
        assert (got - expected).norm() <= rtol * expected.norm()
    assert expected.norm() > 0
    return H


def sentences(rows=6, seed=0):
    """Token numbers, masks of unlike lengths, and next-token labels that leave the padding out."""
    g = torch.Generator().manual_seed(seed)
    ids = torch.randint(TOKENS, (rows, LONGEST), generator=g)
    mask = torch.arange(LONGEST) < torch.randint(4, LONGEST + 1, (rows, 1), generator=g)
    return {"input_ids": ids, "attention_mask": mask.long(), "labels": ids.masked_fill(~mask, -100)}


def rows(batch, *at):
    """A dictionary of tensors in pieces, as a loader gives them."""
    pieces = {k: t.tensor_split(at) for k, t in batch.items()}
    return [{k: p[i] for k, p in pieces.items()} for i in range(len(at) + 1)]


def gpt2():
    from transformers import GPT2Config, GPT2LMHeadModel

    return GPT2LMHeadModel(
        GPT2Config(
            vocab_size=TOKENS, n_positions=LONGEST, n_embd=8, n_layer=2, n_head=2, bos_token_id=0, eos_token_id=0,
            **LANGUAGE,
        )
    )  # fmt: skip


def llama():
    from transformers import LlamaConfig, LlamaForCausalLM

    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=TOKENS, hidden_size=8, intermediate_size=12, num_hidden_layers=2, num_attention_heads=2,
            num_key_value_heads=1, max_position_embeddings=LONGEST, bos_token_id=0, eos_token_id=0,
        )
    )  # fmt: skip


def bert():
    from transformers import BertConfig, BertForSequenceClassification

    return BertForSequenceClassification(
        BertConfig(
            vocab_size=TOKENS, hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=12,
            max_position_embeddings=LONGEST, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, num_labels=3,
        )
    )  # fmt: skip


def vit():
    from transformers import ViTConfig, ViTForImageClassification

    return ViTForImageClassification(
        ViTConfig(
            hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=12, image_size=6, patch_size=3,
            num_channels=2, num_labels=3, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
        )
    )  # fmt: skip


@pytest.mark.parametrize("make", [gpt2, llama])
def test_language_models_bring_their_own_loss(make):
    pytest.importorskip("transformers")
    torch.manual_seed(0)
    model, batch = make().double().eval(), sentences()
    # The model's own loss is computed in float32, whatever the weights.
    holds(model, None, rows(batch, 2), lambda: model(**batch).loss, rtol=1e-6)
    with pytest.raises(AssertionError):
        holds(model, None, rows(batch, 2), lambda: model(**batch).loss, rtol=1e-6, weights="samples")


@pytest.mark.parametrize("reentrant", [True, False])
@pytest.mark.filterwarnings("ignore:.*cannot be linearised:UserWarning")
def test_a_language_model_that_saves_activations(reentrant):
    pytest.importorskip("transformers")
    torch.manual_seed(0)
    model, batch = gpt2().double(), sentences(3)
    saving = copy.deepcopy(model).train()
    saving.gradient_checkpointing_enable({"use_reentrant": reentrant})
    H = Hessian(saving, None, [batch], mode="train")
    V = torch.randn(H.shape[0], 2, dtype=torch.float64)
    expected = reference(lambda: model(**batch).loss, model, V)
    assert (H @ V - expected).norm() <= 1e-6 * expected.norm()


def test_a_loss_on_the_logits_of_dictionaries():
    pytest.importorskip("transformers")
    torch.manual_seed(0)
    model, batch = gpt2().double().eval(), sentences()

    def next_token(out, labels):
        return F.cross_entropy(out.logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())

    holds(model, next_token, rows(batch, 2), lambda: next_token(model(**batch), batch["labels"]))


@pytest.mark.parametrize("collator", ["dict", "BatchEncoding"])
def test_bert_classifies(collator):
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    model, batch = bert().double().eval(), sentences(5) | {"labels": torch.tensor([0, 1, 2, 1, 0])}
    batches = rows(batch, 2)
    if collator == "BatchEncoding":
        batches = [transformers.BatchEncoding(b) for b in batches]
    H = holds(model, None, batches, lambda: model(**batch).loss)
    assert H.linearised
    inputs = {k: t for k, t in batch.items() if k != "labels"}
    pairs = [({k: t for k, t in b.items() if k != "labels"}, b["labels"]) for b in batches]
    logits = lambda out, y: F.cross_entropy(out.logits, y)  # noqa: E731
    holds(model, logits, pairs, lambda: logits(model(**inputs), batch["labels"]))


def test_a_vision_transformer():
    pytest.importorskip("transformers")
    torch.manual_seed(0)
    model = vit().double().eval()
    batch = {"pixel_values": torch.randn(5, 2, 6, 6).double(), "labels": torch.tensor([0, 2, 2, 1, 0])}
    holds(model, None, rows(batch, 3), lambda: model(**batch).loss)


def test_a_recurrent_network_of_time_first():
    class Recurrent(nn.Module):
        def __init__(self):
            super().__init__()
            self.cell, self.out = nn.LSTM(3, 4), nn.Linear(4, 1)

        def forward(self, x):
            return self.out(self.cell(x)[0]).squeeze(-1)

    torch.manual_seed(0)
    model, x = Recurrent().double(), torch.randn(7, 10, 3).double()
    last, every = torch.randn(10).double(), torch.randn(7, 10).double()
    final = lambda out, y: F.mse_loss(out[-1], y)  # noqa: E731
    H = holds(model, final, [(x[:, :8], last[:8]), (x[:, 8:], last[8:])], lambda: final(model(x), last))
    assert H.linearised
    parts = [(x[:, :8], every[:, :8]), (x[:, 8:], every[:, 8:])]
    holds(model, F.mse_loss, parts, lambda: F.mse_loss(model(x), every))


class Messages(nn.Module):
    """Graph regression on plain tensors: nodes, edges, and which graph each node belongs to."""

    def __init__(self):
        super().__init__()
        self.message, self.out = nn.Linear(6, 5), nn.Linear(5, 1)

    def forward(self, nodes, edges, graph, count):
        sent = torch.tanh(self.message(torch.cat([nodes[edges[0]], nodes[edges[1]]], 1)))
        heard = torch.zeros(len(nodes), 5, dtype=sent.dtype).index_add(0, edges[1], sent)
        return self.out(torch.zeros(len(count), 5, dtype=sent.dtype).index_add(0, graph, heard)).squeeze(-1)


def graphs(sizes, seed):
    g = torch.Generator().manual_seed(seed)
    total = sum(sizes)
    graph = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    ring = torch.stack([torch.arange(total), (torch.arange(total) + 1) % total])
    return (torch.randn(total, 3, generator=g).double(), ring, graph, torch.zeros(len(sizes))), torch.randn(
        len(sizes), generator=g
    ).double()


def test_graphs_weigh_by_graphs():
    torch.manual_seed(0)
    model = Messages().double()
    small, large = graphs([2, 3, 2, 4, 3, 2], 1), graphs([20, 30], 2)

    def whole():
        return (6 * F.mse_loss(model(*small[0]), small[1]) + 2 * F.mse_loss(model(*large[0]), large[1])) / 8

    holds(model, F.mse_loss, [small, large], whole)


def test_a_physics_informed_network():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(2, 6), nn.Tanh(), nn.Linear(6, 1)).double()
    inside, edge = torch.rand(20, 2).double(), torch.rand(6, 2).double()

    def residual(model, points, boundary):
        points = points.detach().requires_grad_()
        u = model(points)
        first = torch.autograd.grad(u.sum(), points, create_graph=True)[0]
        second = torch.autograd.grad(first[:, 0].sum(), points, create_graph=True)[0][:, 0]
        return ((first[:, 1] - 0.1 * second) ** 2).mean() + (model(boundary) ** 2).mean()

    with pytest.warns(UserWarning, match="cannot be linearised"):
        H = holds(
            net, lambda model, batch: residual(model, *batch), [(inside, edge)], lambda: residual(net, inside, edge)
        )
    size = H.shape[0]
    expected = reference(lambda: residual(net, inside, edge), net, torch.eye(size, dtype=torch.float64))
    torch.testing.assert_close(H.dense(), expected, rtol=1e-8, atol=1e-10)
    holds_without_data = Hessian(net, lambda model: residual(model, inside, edge), None)
    torch.testing.assert_close(holds_without_data.recomputed_product(expected[:, 0]), expected @ expected[:, 0])


class Variational(nn.Module):
    def __init__(self):
        super().__init__()
        self.encode, self.decode = nn.Linear(6, 4), nn.Linear(2, 6)

    def forward(self, x):
        mean, spread = self.encode(x).chunk(2, 1)
        return self.decode(mean + spread.exp() * torch.randn_like(mean)), mean, spread


def evidence(out, x):
    recon, mean, spread = out
    return F.mse_loss(recon, x) + 0.5 * (mean**2 + (2 * spread).exp() - 2 * spread - 1).mean()


def test_a_variational_autoencoder_with_fixed_noise():
    torch.manual_seed(0)
    model, x = Variational().double(), torch.randn(9, 6).double()
    parts = [x[:4], x[4:]]

    def whole():
        total = 0.0
        for i, part in enumerate(parts):
            torch.manual_seed(7 + i)
            total = total + evidence(model(part), part) * len(part) / 9
        return total

    holds(model, evidence, [(p, p) for p in parts], whole, seed=7)
    holds(model, lambda model, batch: evidence(model(batch), batch), parts, whole, seed=7, weights="samples")


def test_a_discriminator_beside_a_generator():
    torch.manual_seed(0)
    generator = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 6)).double()
    model = nn.Sequential(nn.Linear(6, 5), nn.LeakyReLU(0.2), nn.Linear(5, 1)).double()
    real, z = torch.randn(9, 6).double(), torch.randn(9, 3).double()

    def adversarial(model, batch):
        real, z = batch
        return F.softplus(-model(real)).mean() + F.softplus(model(generator(z).detach())).mean()

    parts = [(real[:4], z[:4]), (real[4:], z[4:])]
    holds(model, adversarial, parts, lambda: adversarial(model, (real, z)))


def test_tied_weights():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.mix, self.out = nn.Embedding(11, 4), nn.Linear(4, 4), nn.Linear(4, 11, bias=False)
            self.out.weight = self.embed.weight

        def forward(self, ids):
            return self.out(torch.tanh(self.mix(self.embed(ids))))

    torch.manual_seed(0)
    model, ids, target = Tied().double(), torch.randint(11, (9,)), torch.randint(11, (9,))
    parts = [(ids[:4], target[:4]), (ids[4:], target[4:])]
    H = holds(model, F.cross_entropy, parts, lambda: F.cross_entropy(model(ids), target))
    assert H.shape[0] == 64
    by_alias = Hessian(model, F.cross_entropy, parts, params=["out.weight"])
    torch.testing.assert_close(by_alias.dense(), H.dense()[:44, :44])


def test_low_rank_adapters_on_frozen_weights():
    class Adapted(nn.Module):
        def __init__(self, base, rank=2):
            super().__init__()
            self.base = base.requires_grad_(False)
            self.down = nn.Parameter(torch.randn(rank, base.in_features))
            self.up = nn.Parameter(torch.zeros(base.out_features, rank))

        def forward(self, x):
            return self.base(x) + x @ self.down.T @ self.up.T

    torch.manual_seed(0)
    model = nn.Sequential(Adapted(nn.Linear(4, 5)), nn.Tanh(), Adapted(nn.Linear(5, 3))).double()
    x, y = torch.randn(9, 4).double(), torch.randint(3, (9,))
    H = holds(model, F.cross_entropy, [(x[:4], y[:4]), (x[4:], y[4:])], lambda: F.cross_entropy(model(x), y))
    assert H.shape[0] == sum(p.numel() for n, p in model.named_parameters() if "base" not in n)


# --- the Gauss-Newton matrix of outputs that are no tensor ---------------------------------------------------


def gauss_newton_by_hand(model, outputs, loss):
    """Dense, from a Jacobian by reverse mode and the loss's Hessian in one flat vector of outputs."""
    params = [p for p in model.parameters() if p.requires_grad]
    with sdpa_kernel(SDPBackend.MATH):
        z = torch.cat([t.flatten() for t in outputs()])
        rows = [torch.autograd.grad(e, params, retain_graph=True, materialize_grads=True) for e in z]
    J = torch.stack([torch.cat([g.flatten() for g in row]) for row in rows])
    return J.T @ torch.autograd.functional.hessian(loss, z.detach()) @ J


@pytest.mark.parametrize("linearise", [True, False])
def test_gauss_newton_of_several_outputs(linearise):
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.mean, self.spread = nn.Linear(3, 4), nn.Linear(4, 1), nn.Linear(4, 1)

        def forward(self, x):
            h = torch.tanh(self.body(x))
            return {"mean": self.mean(h), "steps": 3, "others": [self.spread(h)]}

    def likelihood(out, y):
        return ((out["mean"] - y) ** 2 * out["others"][0].exp() - out["others"][0]).mean()

    torch.manual_seed(0)
    model, x, y = Two().double(), torch.randn(5, 3).double(), torch.randn(5, 1).double()

    def outputs():
        out = model(x)
        return out["mean"], out["others"][0]

    G = GaussNewton(model, likelihood, [(x, y)], linearise=linearise)
    flat = lambda z: likelihood({"mean": z[:5, None], "others": [z[5:, None]]}, y)  # noqa: E731
    torch.testing.assert_close(G.dense(), gauss_newton_by_hand(model, outputs, flat))


@pytest.mark.filterwarnings("ignore:.*cannot be linearised:UserWarning")
@pytest.mark.parametrize("make", [gpt2, bert])
def test_gauss_newton_of_a_transformer(make):
    pytest.importorskip("transformers")
    torch.manual_seed(0)
    model, batch = make().double().eval(), sentences(3)
    tokens = batch.pop("labels")
    labels = tokens if make is gpt2 else torch.tensor([0, 2, 1])

    def loss(out, y):
        logits = getattr(out, "logits", out)
        return F.cross_entropy(logits.flatten(0, -2), y.flatten())

    G = GaussNewton(model, loss, [(batch, labels)])
    shape = model(**batch).logits.shape
    expected = gauss_newton_by_hand(model, lambda: [model(**batch).logits], lambda z: loss(z.view(shape), labels))
    V = torch.randn(G.shape[0], 2, dtype=torch.float64)
    torch.testing.assert_close(G @ V, expected @ V, rtol=1e-8, atol=1e-10)


def test_gauss_newton_refuses_what_is_no_function_of_outputs():
    torch.manual_seed(0)
    model, x, y = nn.Linear(3, 2).double(), torch.randn(5, 3).double(), torch.randint(2, (5,))

    class Whole(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = model

        def forward(self, x, y):
            return F.cross_entropy(self.net(x), y)

    for given in ((model, lambda model, batch: F.cross_entropy(model(batch[0]), batch[1])), (Whole(), None)):
        with pytest.raises(InputError, match=r"needs a loss_fn\(output, target\)"):
            GaussNewton(*given, [(x, y)] if given[1] else [((x, y), None)])

    class Penalised(nn.Linear):
        def loss(self, out, y):
            return F.cross_entropy(out, y) + self.weight.square().sum()

    penalised = Penalised(3, 2).double()
    with pytest.raises(InputError, match=r"needs a loss_fn\(output, target\) of nothing but"):
        GaussNewton(penalised, penalised.loss, [(x, y)])
    holds(penalised, penalised.loss, [(x, y)], lambda: penalised.loss(penalised(x), y))
    with pytest.raises(InputError, match="a scalar that loss_fn uses"):
        GaussNewton(Whole(), lambda out, target: out, [((x, y), y)])
