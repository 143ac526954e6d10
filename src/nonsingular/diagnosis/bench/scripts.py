"""Training scripts as people write them, each healthy as it stands; ``SEED`` stands for the random state."""

IMAGES = """
import torch
import torch.nn as nn
import torch.nn.functional as F
import torch.optim as optim
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(SEED)
centres = torch.randn(10, 1, 8, 8)
def images(n):
    y = torch.randint(0, 10, (n,))
    return TensorDataset(centres[y] + 0.7 * torch.randn(n, 1, 8, 8), y)
"""

MNIST = (
    IMAGES
    + """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 8, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(8)
        self.conv2 = nn.Conv2d(8, 16, 3, padding=1)
        self.dropout = nn.Dropout(0.25)
        self.fc1 = nn.Linear(256, 32)
        self.fc2 = nn.Linear(32, 10)

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        x = self.dropout(torch.flatten(x, 1))
        x = F.relu(self.fc1(x))
        return F.log_softmax(self.fc2(x), dim=1)


def train(model, loader, optimizer, epoch):
    model.train()
    for batch_idx, (data, target) in enumerate(loader):
        optimizer.zero_grad()
        output = model(data)
        loss = F.nll_loss(output, target)
        loss.backward()
        optimizer.step()


def test(model, loader):
    model.eval()
    test_loss, correct = 0, 0
    with torch.no_grad():
        for data, target in loader:
            output = model(data)
            test_loss += F.nll_loss(output, target, reduction="sum").item()
            correct += output.argmax(dim=1).eq(target).sum().item()
    return test_loss / len(loader.dataset), correct / len(loader.dataset)


def main():
    train_loader = DataLoader(images(384), batch_size=32, shuffle=True)
    test_loader = DataLoader(images(128), batch_size=64)
    model = Net()
    optimizer = optim.Adam(model.parameters(), lr=0.002)
    scheduler = optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.7)
    for epoch in range(3):
        train(model, train_loader, optimizer, epoch)
        test(model, test_loader)
        scheduler.step()


if __name__ == "__main__":
    main()
"""
)

REGRESSION = """
import torch
from torch import nn

torch.manual_seed(SEED)
X = torch.linspace(-2, 2, 128).unsqueeze(1)
y = torch.sin(2 * X) + 0.05 * torch.randn_like(X)

model = nn.Sequential(nn.Linear(1, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 1))
criterion = nn.MSELoss()
optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)

for epoch in range(60):
    pred = model(X)
    loss = criterion(pred, y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
"""

REGRESSION_BY_HAND = REGRESSION.replace("loss = criterion(pred, y)", "loss = ((pred - y) ** 2).mean()")

CHAR_RNN = """
import torch
import torch.nn as nn

torch.manual_seed(SEED)
text = "the quick brown fox jumps over the lazy dog and runs away from it. " * 40
chars = sorted(set(text))
ids = torch.tensor([chars.index(c) for c in text])


class CharRNN(nn.Module):
    def __init__(self, vocab, hidden):
        super().__init__()
        self.embed = nn.Embedding(vocab, 16)
        self.rnn = nn.LSTM(16, hidden, num_layers=2, batch_first=True, dropout=0.1)
        self.decoder = nn.Linear(hidden, vocab)

    def forward(self, x, state):
        out, state = self.rnn(self.embed(x), state)
        return self.decoder(out), state


model = CharRNN(len(chars), 48)
optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
loss_fn = nn.CrossEntropyLoss()
data = ids[: 8 * 320].view(8, 320)
for epoch in range(3):
    model.train()
    state = None
    for i in range(0, 300, 20):
        inputs, targets = data[:, i : i + 20], data[:, i + 1 : i + 21]
        if state is not None:
            state = tuple(s.detach() for s in state)
        optimizer.zero_grad()
        logits, state = model(inputs, state)
        loss = loss_fn(logits.reshape(-1, len(chars)), targets.reshape(-1))
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
"""

GAN = """
import torch
import torch.nn as nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(SEED)
real_data = torch.randn(512, 2) * 0.3 + torch.tensor([1.0, -1.0])
loader = DataLoader(TensorDataset(real_data), batch_size=32, shuffle=True)

netG = nn.Sequential(nn.Linear(8, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 2))
netD = nn.Sequential(nn.Linear(2, 32), nn.LeakyReLU(0.2), nn.Dropout(0.1), nn.Linear(32, 1))
criterion = nn.BCEWithLogitsLoss()
optimizerD = torch.optim.Adam(netD.parameters(), lr=1e-3, betas=(0.5, 0.999))
optimizerG = torch.optim.Adam(netG.parameters(), lr=1e-3, betas=(0.5, 0.999))
fixed_noise = torch.randn(16, 8)

for epoch in range(3):
    for (real,) in loader:
        netD.zero_grad()
        label = torch.ones(len(real), 1)
        errD_real = criterion(netD(real), label)
        errD_real.backward()
        noise = torch.randn(len(real), 8)
        fake = netG(noise)
        label = torch.zeros(len(real), 1)
        errD_fake = criterion(netD(fake.detach()), label)
        errD_fake.backward()
        optimizerD.step()

        netG.zero_grad()
        label = torch.ones(len(real), 1)
        errG = criterion(netD(fake), label)
        errG.backward()
        optimizerG.step()
    with torch.no_grad():
        fake = netG(fixed_noise).detach().cpu()
"""

FINE_TUNE = """
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(SEED)


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(50, 32)
        layer = nn.TransformerEncoderLayer(32, 4, 64, dropout=0.1, batch_first=True)
        self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)

    def forward(self, ids):
        return self.layers(self.embed(ids))


class Classifier(nn.Module):
    def __init__(self, encoder):
        super().__init__()
        self.encoder = encoder
        self.dropout = nn.Dropout(0.1)
        self.classifier = nn.Linear(32, 2)

    def forward(self, ids):
        return self.classifier(self.dropout(self.encoder(ids).mean(1)))


encoder = Encoder()
checkpoint = {k: v + 0.01 * torch.randn_like(v) for k, v in Encoder().state_dict().items()}
encoder.load_state_dict(checkpoint)
model = Classifier(encoder)

ids = torch.randint(0, 50, (320, 12))
labels = (ids < 25).float().mean(1).gt(0.5).long()
train_loader = DataLoader(TensorDataset(ids[:256], labels[:256]), batch_size=16, shuffle=True)
val_loader = DataLoader(TensorDataset(ids[256:], labels[256:]), batch_size=32)

decay = [p for n, p in model.named_parameters() if p.ndim > 1]
no_decay = [p for n, p in model.named_parameters() if p.ndim <= 1]
groups = [{"params": decay, "weight_decay": 0.01}, {"params": no_decay, "weight_decay": 0.0}]
optimizer = torch.optim.AdamW(groups, lr=1e-3)
total = 3 * len(train_loader)
schedule = lambda step: min(1.0, step / 5) * max(0.0, (total - step) / total)
scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, schedule)
loss_fn = nn.CrossEntropyLoss()

for epoch in range(3):
    model.train()
    for x, y in train_loader:
        optimizer.zero_grad(set_to_none=True)
        loss = loss_fn(model(x), y)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), max_norm=1.0)
        optimizer.step()
        scheduler.step()
    model.eval()
    hits = 0
    with torch.no_grad():
        for x, y in val_loader:
            hits += (model(x).argmax(-1) == y).sum().item()
"""

BY_HAND = """
import torch
import torch.nn as nn

torch.manual_seed(SEED)
x = torch.randn(200, 3)
y = x @ torch.tensor([[1.0], [-2.0], [0.5]]) + 0.3
net = nn.Sequential(nn.Linear(3, 16), nn.ReLU(), nn.Linear(16, 1))
lr = 0.05
for step in range(50):
    loss = ((net(x) - y) ** 2).mean()
    net.zero_grad()
    loss.backward()
    with torch.no_grad():
        for p in net.parameters():
            p -= lr * p.grad
"""

LBFGS = """
import torch
from torch import nn

torch.manual_seed(SEED)
x = torch.rand(100, 1) * 4 - 2
y = x**2
net = nn.Sequential(nn.Linear(1, 20), nn.Tanh(), nn.Linear(20, 1))
opt = torch.optim.LBFGS(net.parameters(), lr=0.5, max_iter=5)
for i in range(12):
    def closure():
        opt.zero_grad()
        loss = nn.functional.mse_loss(net(x), y)
        loss.backward()
        return loss
    opt.step(closure)
"""

ACCUMULATION = (
    IMAGES
    + """
model = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Dropout(0.2), nn.Linear(64, 10))
optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
loader = DataLoader(images(512), batch_size=16, shuffle=True)
accumulation_steps = 4
model.train()
for epoch in range(3):
    optimizer.zero_grad()
    for i, (x, y) in enumerate(loader):
        loss = F.cross_entropy(model(x), y) / accumulation_steps
        loss.backward()
        if (i + 1) % accumulation_steps == 0:
            optimizer.step()
            optimizer.zero_grad()
"""
)

TRANSFER = (
    IMAGES
    + """
class Backbone(nn.Module):
    def __init__(self):
        super().__init__()
        conv = nn.Conv2d(1, 8, 3, padding=1)
        self.features = nn.Sequential(conv, nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(4))
        self.fc = nn.Linear(128, 5)

    def forward(self, x):
        return self.fc(self.features(x).flatten(1))


pretrained = Backbone().state_dict()
model = Backbone()
model.load_state_dict(pretrained)
for param in model.parameters():
    param.requires_grad = False
model.fc = nn.Linear(128, 10)
optimizer = optim.Adam(model.fc.parameters(), lr=3e-3)
loader = DataLoader(images(384), batch_size=32, shuffle=True)
for epoch in range(2):
    model.train()
    for x, y in loader:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
"""
)

AMP = (
    IMAGES
    + """
model = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
optimizer = optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
loader = DataLoader(images(384), batch_size=32, shuffle=True)
for epoch in range(3):
    for x, y in loader:
        optimizer.zero_grad()
        with torch.autocast("cpu", dtype=torch.float16):
            loss = F.cross_entropy(model(x), y)
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        scaler.step(optimizer)
        scaler.update()
"""
)

EMA = (
    IMAGES
    + """
import copy

model = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 10))
ema = copy.deepcopy(model)
optimizer = optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.05)
scheduler = optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=36)
loader, test_loader = DataLoader(images(384), 32, shuffle=True), DataLoader(images(128), 64)
for epoch in range(3):
    model.train()
    for x, y in loader:
        loss = F.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
        with torch.no_grad():
            for e, p in zip(ema.parameters(), model.parameters()):
                e.mul_(0.95).add_(p, alpha=0.05)
            for e, b in zip(ema.buffers(), model.buffers()):
                e.copy_(b)
    ema.eval()
    with torch.no_grad():
        for x, y in test_loader:
            accuracy = (ema(x).argmax(1) == y).float().mean()
"""
)

COMPILED = (
    IMAGES
    + """
net = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Dropout(0.1), nn.Linear(32, 10))
model = torch.compile(net, backend="eager")
optimizer = optim.Adam(model.parameters(), lr=3e-3)
loader = DataLoader(images(320), batch_size=32, shuffle=True)
for epoch in range(2):
    model.train()
    for x, y in loader:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        model(x)
"""
)

VAE = (
    IMAGES
    + """
class VAE(nn.Module):
    def __init__(self):
        super().__init__()
        self.enc = nn.Linear(64, 32)
        self.mu, self.logvar = nn.Linear(32, 4), nn.Linear(32, 4)
        self.dec1, self.dec2 = nn.Linear(4, 32), nn.Linear(32, 64)

    def forward(self, x):
        h = F.relu(self.enc(x.view(-1, 64)))
        mu, logvar = self.mu(h), self.logvar(h)
        z = mu + torch.exp(0.5 * logvar) * torch.randn_like(mu)
        return self.dec2(F.relu(self.dec1(z))), mu, logvar


def loss_function(recon, x, mu, logvar):
    bce = F.mse_loss(recon, x.view(-1, 64), reduction="sum")
    kld = -0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp())
    return bce + kld


model = VAE()
optimizer = optim.Adam(model.parameters(), lr=1e-3)
loader = DataLoader(images(384), batch_size=32, shuffle=True)
for epoch in range(3):
    model.train()
    for data, _ in loader:
        optimizer.zero_grad()
        recon, mu, logvar = model(data)
        loss = loss_function(recon, data, mu, logvar)
        loss.backward()
        optimizer.step()
"""
)

CODES = (
    IMAGES
    + """
encoder = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 8))
decoder = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 64))
book = torch.randn(16, 8)
optimizer = optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=2e-3)
loader = DataLoader(images(384), batch_size=32, shuffle=True)
for epoch in range(3):
    for x, _ in loader:
        z = encoder(x)
        nearest = torch.cdist(z.detach(), book).argmin(1)
        q = book[nearest]
        follows = F.mse_loss(q, z.detach())
        commitment = F.mse_loss(z, q)
        recon = decoder(z + (q - z).detach())
        loss = F.mse_loss(recon, x.flatten(1)) + follows + 0.25 * commitment
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        book[nearest] += 0.05 * (z.detach() - q)
"""
)

TWO_PARTS = (
    IMAGES
    + """
import itertools

encoder = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 8))
decoder = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 64))
optimizer = optim.Adam(itertools.chain(encoder.parameters(), decoder.parameters()), lr=2e-3)
loader = DataLoader(images(384), batch_size=32, shuffle=True)
for epoch in range(3):
    for x, _ in loader:
        code = encoder(x)
        loss = F.mse_loss(decoder(code), x.flatten(1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
"""
)

DISTILLATION = (
    IMAGES
    + """
teacher = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 10))
student = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10))
teacher.eval()
optimizer = optim.SGD(student.parameters(), lr=0.1, momentum=0.9)
loader = DataLoader(images(384), batch_size=32, shuffle=True)
T = 2.0
for epoch in range(3):
    student.train()
    for x, y in loader:
        soft = teacher(x)
        out = student(x)
        loss = F.kl_div(F.log_softmax(out / T, 1), F.softmax(soft / T, 1), reduction="batchmean") * T * T
        loss = 0.5 * loss + F.cross_entropy(out, y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
"""
)

EPISODES = """
import torch
from torch import nn
from torch.distributions import Categorical

torch.manual_seed(SEED)
LENGTH = 5


def weighted(log_probs, credit):
    return -(log_probs * credit).sum(1).mean()


def credited(rewards, gamma=0.95):
    sums, rest = torch.zeros_like(rewards), torch.zeros(len(rewards))
    for t in reversed(range(LENGTH)):
        rest = rewards[:, t] + gamma * rest
        sums[:, t] = rest
    return sums


@torch.no_grad()
def play(policy, episodes):
    states = torch.randn(episodes, LENGTH, 4)
    actions = Categorical(logits=policy(states)).sample()
    right = (actions == (states[..., 0] > 0).long()).float()
    return states, actions, right.roll(1, 1) * (torch.arange(LENGTH) > 0)


policy = nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 2))
optimizer = torch.optim.Adam(policy.parameters(), lr=5e-3)
for update in range(40):
    states, actions, rewards = play(policy, 32)
    credit = credited(rewards)
    credit = (credit - credit.mean(0)) / (credit.std() + 1e-6)
    loss = weighted(Categorical(logits=policy(states)).log_prob(actions), credit)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
"""

CLIPPED_POLICY = """
import torch
from torch import nn
from torch.distributions import Categorical

torch.manual_seed(SEED)
policy = nn.Sequential(nn.Linear(3, 16), nn.Tanh(), nn.Linear(16, 2))
critic = nn.Sequential(nn.Linear(3, 16), nn.Tanh(), nn.Linear(16, 1))
optimizer = torch.optim.Adam([*policy.parameters(), *critic.parameters()], lr=3e-3)
for update in range(16):
    states = torch.randn(16, 8, 3)
    with torch.no_grad():
        before = Categorical(logits=policy(states))
        actions, values = before.sample(), critic(states)[..., 0]
        old = before.log_prob(actions)
    rewards = (actions == (states[..., 0] > 0).long()).float()
    advantages, last = torch.zeros(16, 8), torch.zeros(8)
    for t in reversed(range(16)):
        after = values[t + 1] if t < 15 else torch.zeros(8)
        last = rewards[t] + 0.99 * after - values[t] + 0.99 * 0.95 * last
        advantages[t] = last
    goals = advantages + values
    advantages = (advantages - advantages.mean()) / advantages.std()
    for _ in range(3):
        ratio = (Categorical(logits=policy(states)).log_prob(actions) - old).exp()
        gain = torch.min(ratio * advantages, ratio.clamp(0.8, 1.2) * advantages).mean()
        loss = 0.5 * nn.functional.mse_loss(critic(states)[..., 0], goals) - gain
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
"""

TWO_TOWERS = """
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(SEED)
meaning = torch.randn(512, 5)
texts = torch.tanh(meaning @ torch.randn(5, 12)) + 0.05 * torch.randn(512, 12)
pictures = torch.tanh(meaning @ torch.randn(5, 16)) + 0.05 * torch.randn(512, 16)
reader = nn.Sequential(nn.Linear(12, 48), nn.ReLU(), nn.Linear(48, 8))
viewer = nn.Sequential(nn.Linear(16, 48), nn.ReLU(), nn.Linear(48, 8))
optimizer = torch.optim.Adam([*reader.parameters(), *viewer.parameters()], lr=3e-3)
loader = DataLoader(TensorDataset(texts, pictures), 32, shuffle=True)
for epoch in range(4):
    for text, picture in loader:
        likeness = 5 * F.normalize(reader(text), dim=1) @ F.normalize(viewer(picture), dim=1).t()
        loss = F.cross_entropy(likeness, torch.arange(len(text)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
"""

SEGMENTATION = """
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, Dataset

torch.manual_seed(SEED)


class Scenes(Dataset):
    def __init__(self, count):
        centres = torch.rand(count, 1, 1, 2) * 8 + 2
        grid = torch.stack(torch.meshgrid(torch.arange(12), torch.arange(12), indexing="ij"), -1)
        self.masks = ((grid - centres).square().sum(-1) < 8).float()[:, None]
        self.images = self.masks * 1.5 - 0.5 + 0.4 * torch.randn(count, 1, 12, 12)

    def __len__(self):
        return len(self.images)

    def __getitem__(self, i):
        image, mask = self.images[i], self.masks[i]
        if torch.rand(()) < 0.5:
            image = image.flip(-1)
            mask = mask.flip(-1)
        return image, mask


model = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 1, 3, padding=1))
optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
loader = DataLoader(Scenes(192), batch_size=16, shuffle=True)
for epoch in range(4):
    for image, mask in loader:
        optimizer.zero_grad()
        loss = F.binary_cross_entropy_with_logits(model(image), mask)
        loss.backward()
        optimizer.step()
"""

MATCHED = (
    IMAGES
    + """
nets = nn.ModuleDict({
    name: nn.Sequential(nn.Flatten(), nn.Linear(64, width), nn.ReLU(), nn.Linear(width, 8))
    for name, width in (("teacher", 64), ("student", 24))
})
x, y = images(384).tensors
head = nn.Linear(8, 10)
first = optim.Adam([*nets["teacher"].parameters(), *head.parameters()], lr=3e-3)
for rows in torch.randperm(384).repeat(3).split(32):
    first.zero_grad()
    F.cross_entropy(head(nets["teacher"](x[rows])), y[rows]).backward()
    first.step()
optimizer = optim.Adam(nets["student"].parameters(), lr=3e-3)
for rows in torch.randperm(384).repeat(5).split(32):
    optimizer.zero_grad()
    loss = F.mse_loss(nets["student"](x[rows]), nets["teacher"](x[rows]))
    loss.backward()
    optimizer.step()
"""
)

BY_TIME_STEP = """
import torch
import torch.nn as nn
import torch.nn.functional as F

torch.manual_seed(SEED)
x = torch.randn(512, 8, 3)
y = (x[:, :4].sum((1, 2)) > 0).long()
cell, head = nn.LSTMCell(3, 24), nn.Linear(24, 2)
optimizer = torch.optim.Adam([*cell.parameters(), *head.parameters()], lr=5e-3)
for rows in torch.randperm(512).repeat(5).split(32):
    state = torch.zeros(32, 24), torch.zeros(32, 24)
    for t in range(8):
        state = cell(x[rows, t], state)
    loss = F.cross_entropy(head(state[0]), y[rows])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
"""

KEPT_TEACHER = (
    IMAGES
    + """
x, y = images(384).tensors
teacher = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
step = optim.Adam(teacher.parameters(), lr=3e-3)
for rows in torch.randperm(384).repeat(2).split(32):
    step.zero_grad()
    F.cross_entropy(teacher(x[rows]), y[rows]).backward()
    step.step()
with torch.no_grad():
    soft = F.softmax(teacher(x) / 2, 1)
student = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10))
optimizer = optim.Adam(student.parameters(), lr=3e-3)
for epoch in range(3):
    order = torch.randperm(384)
    for place in torch.arange(384).split(32):
        rows = order[place]
        out, told = student(x[rows]), soft[rows]
        loss = F.cross_entropy(out, y[rows]) + 4 * F.kl_div(F.log_softmax(out / 2, 1), told, reduction="batchmean")
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
"""
)

TEACHER_LAST = (
    IMAGES
    + """
loader = DataLoader(images(384), batch_size=32, shuffle=True)
teacher = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
student = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10))
step = optim.Adam(teacher.parameters(), lr=3e-3)
for epoch in range(2):
    for x, y in loader:
        step.zero_grad()
        F.cross_entropy(teacher(x), y).backward()
        step.step()
optimizer = optim.Adam(student.parameters(), lr=3e-3)
for epoch in range(3):
    for x, y in loader:
        loss = F.kl_div(F.log_softmax(student(x) / 2, 1), F.softmax(teacher(x).detach() / 2, 1), reduction="batchmean")
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
"""
)

WGAN = """
import torch
import torch.nn as nn

torch.manual_seed(SEED)
G = nn.Sequential(nn.Linear(4, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 2))
D = nn.Sequential(nn.Linear(2, 32), nn.ReLU(), nn.Linear(32, 1))
opt_g = torch.optim.RMSprop(G.parameters(), lr=5e-4)
opt_d = torch.optim.RMSprop(D.parameters(), lr=5e-4)
for it in range(20):
    for _ in range(3):
        real = torch.randn(64, 2) + 2
        fake = G(torch.randn(64, 4)).detach()
        opt_d.zero_grad()
        loss_d = D(fake).mean() - D(real).mean()
        loss_d.backward()
        opt_d.step()
        for p in D.parameters():
            p.data.clamp_(-0.1, 0.1)
    opt_g.zero_grad()
    loss_g = -D(G(torch.randn(64, 4))).mean()
    loss_g.backward()
    opt_g.step()
"""

PINN = """
import torch
from torch import nn

torch.manual_seed(SEED)
net = nn.Sequential(nn.Linear(1, 20), nn.Tanh(), nn.Linear(20, 20), nn.Tanh(), nn.Linear(20, 1))
optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
for step in range(60):
    t = torch.rand(64, 1, requires_grad=True)
    u = net(t)
    du = torch.autograd.grad(u.sum(), t, create_graph=True)[0]
    loss = (du + u).pow(2).mean() + (net(torch.zeros(1, 1)) - 1).pow(2).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
"""

SIAMESE = """
import torch
import torch.nn as nn
import torch.nn.functional as F

torch.manual_seed(SEED)
net = nn.Sequential(nn.Linear(10, 32), nn.ReLU(), nn.Dropout(0.1), nn.Linear(32, 8))
optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
triplet = nn.TripletMarginLoss(margin=1.0)
centres = 2 * torch.randn(4, 10)
for step in range(50):
    c = torch.randint(0, 4, (32,))
    anchor, positive = centres[c] + torch.randn(32, 10), centres[c] + torch.randn(32, 10)
    negative = centres[(c + 1) % 4] + torch.randn(32, 10)
    optimizer.zero_grad()
    loss = triplet(net(anchor), net(positive), net(negative))
    loss.backward()
    optimizer.step()
"""

RAW_TENSORS = """
import torch

torch.manual_seed(SEED)
x, w_true = torch.randn(100, 2), torch.tensor([[2.0], [-1.0]])
y = x @ w_true + 0.1
w = torch.zeros(2, 1, requires_grad=True)
b = torch.zeros(1, requires_grad=True)
for epoch in range(30):
    loss = ((x @ w + b - y) ** 2).mean()
    loss.backward()
    with torch.no_grad():
        w -= 0.1 * w.grad
        b -= 0.1 * b.grad
        w.grad.zero_()
        b.grad.zero_()
"""

PLATEAU = (
    IMAGES
    + """
model = nn.Sequential(nn.Flatten(), nn.Linear(64, 48), nn.ReLU(), nn.Dropout(0.5), nn.Linear(48, 10))
criterion = nn.CrossEntropyLoss(label_smoothing=0.1)
optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-4)
scheduler = optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=1)
loader, valid = DataLoader(images(384), 32, shuffle=True), DataLoader(images(128), 128)
best = 1e9
for epoch in range(3):
    model.train()
    for x, y in loader:
        optimizer.zero_grad()
        loss = criterion(model(x), y)
        loss.backward()
        optimizer.step()
    model.eval()
    with torch.inference_mode():
        loss = sum(criterion(model(x), y).item() for x, y in valid)
    scheduler.step(loss)
"""
)

PSEUDO = (
    IMAGES
    + """
model = nn.Sequential(nn.Flatten(), nn.Linear(64, 48), nn.BatchNorm1d(48), nn.ReLU(), nn.Linear(48, 10))
optimizer = optim.Adam(model.parameters(), lr=2e-3)
loader = DataLoader(images(384), 32, shuffle=True)
unlabelled = iter(DataLoader(images(1200), 32))
for epoch in range(3):
    model.train()
    for x, y in loader:
        u, _ = next(unlabelled)
        with torch.no_grad():
            pseudo = F.softmax(model(u), dim=1).argmax(1)
        loss = F.cross_entropy(model(x), y) + 0.1 * F.cross_entropy(model(u + 0.1 * torch.randn_like(u)), pseudo)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
"""
)

SALIENCY = (
    IMAGES
    + """
model = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(288, 10))
model.eval()
loader = DataLoader(images(320), 32)
for x, y in loader:
    x.requires_grad_()
    loss = F.cross_entropy(model(x), y)
    model.zero_grad()
    loss.backward()
    adversarial = x + 0.1 * x.grad.sign()
"""
)

ONE_BATCH = (
    IMAGES
    + """
model = nn.Sequential(nn.Flatten(), nn.Linear(64, 48), nn.ReLU(), nn.Linear(48, 10))
optimizer = optim.Adam(model.parameters(), lr=3e-3)
x, y = next(iter(DataLoader(images(320), 32, shuffle=True)))
for step in range(40):  # it must be able to learn one batch by heart
    optimizer.zero_grad()
    loss = F.cross_entropy(model(x), y)
    loss.backward()
    optimizer.step()
"""
)

SAM = (
    IMAGES
    + """
class SAM(optim.Optimizer):
    def __init__(self, params, base, rho=0.05, **kwargs):
        super().__init__(params, dict(rho=rho, **kwargs))
        self.base = base(self.param_groups, **kwargs)
        self.param_groups = self.base.param_groups

    @torch.no_grad()
    def first_step(self):
        grads = [p for g in self.param_groups for p in g["params"] if p.grad is not None]
        norm = torch.stack([p.grad.norm() for p in grads]).norm()
        for p in grads:
            e = p.grad * (0.05 / (norm + 1e-12))
            p.add_(e)
            self.state[p]["e"] = e
        self.zero_grad()

    @torch.no_grad()
    def second_step(self):
        for g in self.param_groups:
            for p in g["params"]:
                if p.grad is not None:
                    p.sub_(self.state[p]["e"])
        self.base.step()
        self.zero_grad()


model = nn.Sequential(nn.Flatten(), nn.Linear(64, 48), nn.ReLU(), nn.Linear(48, 10))
optimizer = SAM(model.parameters(), optim.SGD, lr=0.1, momentum=0.9)
for epoch in range(3):
    for x, y in DataLoader(images(384), 32, shuffle=True):
        F.cross_entropy(model(x), y).backward()
        optimizer.first_step()
        F.cross_entropy(model(x), y).backward()
        optimizer.second_step()
"""
)

TAGGER = """
import torch
from torch import nn

torch.manual_seed(SEED)


class Tagger(nn.Module):
    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(60, 24)
        self.encoder = nn.GRU(24, 32, batch_first=True, bidirectional=True)
        self.head = nn.Linear(64, 5)

    def forward(self, x):
        return self.head(self.encoder(self.words(x))[0])


x = torch.randint(0, 60, (256, 10))
tags = torch.randint(0, 5, (60,))[x]
model = Tagger()
groups = [{"params": [*model.words.parameters(), *model.encoder.parameters()], "lr": 1e-3}]
groups.append({"params": model.head.parameters(), "lr": 5e-3})
optimizer = torch.optim.AdamW(groups)
loss_fn = nn.CrossEntropyLoss()
for epoch in range(6):
    for i in range(0, 256, 32):
        logits = model(x[i : i + 32])
        loss = loss_fn(logits.permute(0, 2, 1), tags[i : i + 32])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
"""

ONE_CYCLE = (
    IMAGES
    + """
class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.body = nn.Sequential(nn.BatchNorm1d(width), nn.ReLU(), nn.Linear(width, width))

    def forward(self, x):
        return x + self.body(x)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(64, 48), nn.Linear(48, 10)
        self.blocks = nn.ModuleList([Block(48), Block(48)])

    def forward(self, x):
        x = self.first(x.flatten(1))
        for block in self.blocks:
            x = block(x)
        return self.last(x)


model = Net()
loader, valid = DataLoader(images(384), 32, shuffle=True), DataLoader(images(128), 64)
optimizer = optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
scheduler = optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.1, steps_per_epoch=len(loader), epochs=3)
def evaluate():
    model.eval()
    with torch.no_grad():
        return sum((model(x).argmax(1) == y).sum().item() for x, y in valid) / 128
for epoch in range(3):
    model.train()
    for x, y in loader:
        loss = F.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
    evaluate()
"""
)

POLICY = """
import torch
from torch import nn
from torch.distributions import Categorical

torch.manual_seed(SEED)
policy = nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 2))
value = nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 1))
optimizer = torch.optim.Adam([*policy.parameters(), *value.parameters()], lr=3e-3)
for episode in range(40):
    with torch.no_grad():
        states = torch.randn(64, 4)
        actions = Categorical(logits=policy(states)).sample()
        rewards = ((states[:, 0] > 0).long() == actions).float()
    log_probs = Categorical(logits=policy(states)).log_prob(actions)
    advantage = rewards - value(states).squeeze(1)
    entropy = Categorical(logits=policy(states)).entropy().mean()
    loss = -(log_probs * advantage.detach()).mean() + advantage.pow(2).mean() - 0.01 * entropy
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
"""

SIMPLE_LOOP = (
    IMAGES
    + """
dataset, held_out = images(384), images(128)
model = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
loss_fn = nn.CrossEntropyLoss()
optimizer = optim.SGD(model.parameters(), lr=0.1)
loader = DataLoader(dataset, batch_size=32)
for epoch in range(4):
    for x, y in loader:
        out = model(x)
        loss = loss_fn(out, y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    x, y = held_out.tensors
    accuracy = (model(x).argmax(1) == y).float().mean()
"""
)

HAND_WRITTEN_LOSS = (
    IMAGES
    + """
def cross_entropy(logits, y):
    log_probs = logits - logits.logsumexp(1, keepdim=True)
    return -log_probs[torch.arange(len(y)), y].mean()

model = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
optimizer = optim.Adam(model.parameters(), lr=3e-3)
loader = DataLoader(images(384), batch_size=32, shuffle=True)
for epoch in range(3):
    for x, y in loader:
        optimizer.zero_grad()
        loss = cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
"""
)

DENOISER = (
    IMAGES
    + """
net = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 1, 3, padding=1))
optimizer = optim.Adam(net.parameters(), lr=2e-3)
loader = DataLoader(images(384), batch_size=32, shuffle=True)
def distance(a, b):
    return ((a - b).pow(2).flatten(1).sum(1) + 1e-6).sqrt().mean()
for epoch in range(3):
    for x, _ in loader:
        noisy = x + 0.3 * torch.randn_like(x)
        loss = distance(noisy + net(noisy), x)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
"""
)

STANDARDISED = """
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

torch.manual_seed(SEED)


class Readings(Dataset):
    def __init__(self, n):
        self.x = 3 + 0.4 * torch.randn(n, 12)
        self.y = (self.x[:, :3].sum(1) > 9).long()
        self.mean, self.std = self.x.mean(0), self.x.std(0)

    def __len__(self):
        return len(self.x)

    def __getitem__(self, i):
        x = self.x[i]
        x = (x - self.mean) / self.std
        return x, self.y[i]


model = nn.Sequential(nn.Linear(12, 32), nn.ReLU(), nn.Linear(32, 2))
optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
loader = DataLoader(Readings(256), batch_size=32, shuffle=True)
for epoch in range(6):
    for x, y in loader:
        loss = nn.functional.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
"""

LENGTHS = """
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(SEED)
lengths = torch.randint(3, 12, (320,))
tokens = torch.randint(1, 20, (320, 12)) * (torch.arange(12) < lengths[:, None])
labels = (tokens[:, 0] > 10).long()


class Reader(nn.Module):
    def __init__(self):
        super().__init__()
        self.table, self.cells = nn.Embedding(20, 16, padding_idx=0), nn.GRU(16, 24, batch_first=True)
        self.head = nn.Linear(24, 2)

    def forward(self, x, lengths):
        _, h = self.cells(pack_padded_sequence(self.table(x), lengths, batch_first=True))
        return self.head(h[-1])


model = Reader()
optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
for epoch in range(5):
    for x, n, y in DataLoader(TensorDataset(tokens, lengths, labels), batch_size=32, shuffle=True):
        n, order = n.sort(descending=True)
        x, y = x[order], y[order]
        loss = nn.functional.cross_entropy(model(x, n), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
"""

_AT_ONCE = """        n, order = n.sort(descending=True)
        x, y = x[order], y[order]
"""
COLLATED = (
    LENGTHS.replace(_AT_ONCE, "")
    .replace("shuffle=True)", "shuffle=True, collate_fn=together)")
    .replace(
        "model = Reader()",
        """def together(samples):
    longest = sorted(samples, key=lambda sample: int(sample[1]), reverse=True)
    x, n = (torch.stack([sample[i] for sample in longest]) for i in range(2))
    return x, n, torch.stack([sample[2] for sample in longest])


model = Reader()""",
    )
)
"""The same, sorted while batches are put together."""

REINFORCE = """
import torch
from torch import nn
from torch.distributions import Categorical

torch.manual_seed(SEED)
policy = nn.Sequential(nn.Linear(3, 24), nn.Tanh(), nn.Linear(24, 2))
optimizer = torch.optim.Adam(policy.parameters(), lr=1e-2)
gamma = 0.95


def episode():
    state, log_probs, rewards = torch.randn(3), [], []
    for t in range(12):
        choice = Categorical(logits=policy(state))
        action = choice.sample()
        log_probs.append(choice.log_prob(action))
        rewards.append(float(action == (state[0] > 0).long()) + 0.1 * float(state[1]))
        state = torch.randn(3)
    return log_probs, rewards


for number in range(40):
    log_probs, rewards = episode()
    R, returns = 0.0, []
    for r in reversed(rewards):
        R = r + gamma * R
        returns.insert(0, R)
    returns = torch.tensor(returns)
    returns = (returns - returns.mean()) / (returns.std() + 1e-6)
    loss = sum(-lp * ret for lp, ret in zip(log_probs, returns))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
"""

MASKED = """
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(SEED)
lengths = torch.randint(3, 9, (320,))
tokens = torch.randint(1, 20, (320, 10)) * (torch.arange(10) < lengths[:, None])
labels = (tokens > 12).any(1).long()


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(20, 16)
        self.attention = nn.MultiheadAttention(16, 2, batch_first=True)
        self.head = nn.Linear(16, 2)

    def forward(self, x):
        padding = x == 0
        h = self.table(x)
        h = h + self.attention(h, h, h, key_padding_mask=padding)[0]
        kept = (~padding).float()[:, :, None]
        return self.head((h * kept).sum(1) / kept.sum(1).clamp(min=1))


model = Encoder()
optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
for epoch in range(4):
    for x, y in DataLoader(TensorDataset(tokens, labels), batch_size=32, shuffle=True):
        loss = nn.functional.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
"""

REPLICAS = (
    IMAGES
    + """
import copy

def build():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))

first = build()
replicas = [first, copy.deepcopy(first)]
optimizers = [optim.SGD(r.parameters(), lr=0.2) for r in replicas]
for epoch in range(3):
    for x, y in DataLoader(images(384), batch_size=64, shuffle=True):
        for r, o, a, b in zip(replicas, optimizers, x.chunk(2), y.chunk(2)):
            o.zero_grad()
            F.cross_entropy(r(a), b).backward()
        for ps in zip(*(r.parameters() for r in replicas)):
            mean = sum(p.grad for p in ps) / len(ps)
            for p in ps:
                p.grad.copy_(mean)
        for o in optimizers:
            o.step()
"""
)

Q_LEARNING = """
import copy
import torch
from torch import nn

torch.manual_seed(SEED)
q = nn.Sequential(nn.Linear(3, 32), nn.ReLU(), nn.Linear(32, 2))
frozen = copy.deepcopy(q)
optimizer = torch.optim.Adam(q.parameters(), lr=2e-3)
gamma = 0.9
for step in range(80):
    state, action = torch.randn(64, 3), torch.randint(0, 2, (64,))
    reward = (action == (state[:, 0] > 0).long()).float()
    following, done = state + 0.3 * torch.randn(64, 3), (torch.rand(64) < 0.2).float()
    with torch.no_grad():
        best = frozen(following).max(1).values
        target = reward + gamma * best * (1 - done)
    chosen = q(state).gather(1, action[:, None])[:, 0]
    loss = nn.functional.smooth_l1_loss(chosen, target)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 20 == 19:
        frozen.load_state_dict(q.state_dict())
"""

REPLAY = """
import copy
import random
import torch
from torch import nn

torch.manual_seed(SEED)
random.seed(SEED)
q = nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 2))
frozen = copy.deepcopy(q)
optimizer = torch.optim.Adam(q.parameters(), lr=2e-3)
memory, s = [], torch.randn(4)
for t in range(600):
    a, following, d = random.randrange(2), s + 0.3 * torch.randn(4), random.random() < 0.1
    memory.append((s, torch.tensor(a), torch.tensor(1.0), following, torch.tensor(float(d))))
    s = torch.randn(4) if d else following


def learn():
    s, a, r, s2, d = (torch.stack(column) for column in zip(*random.sample(memory, 64)))
    with torch.no_grad():
        goal = r + 0.95 * frozen(s2).max(1).values * (1 - d)
    loss = (q(s).gather(1, a[:, None])[:, 0] - goal).pow(2).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


for t in range(80):
    learn()
    if t % 20 == 19:
        frozen.load_state_dict(q.state_dict())
"""

REPLAY_LATE = REPLAY.replace(
    """    with torch.no_grad():
        goal = r + 0.95 * frozen(s2).max(1).values * (1 - d)
    loss = (q(s).gather(1, a[:, None])[:, 0] - goal).pow(2).mean()
""",
    """    value = q(s).gather(1, a[:, None])[:, 0]
    loss = (value - (r + 0.95 * frozen(s2).max(1).values.detach() * (1 - d))).pow(2).mean()
""",
)

REVIEWS = """
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(SEED)
frequency = 1 / torch.arange(1.0, 301)
texts = torch.multinomial(frequency.expand(1024, 300), 20, replacement=True)
tone = torch.randn(300)
mood = tone[texts].mean(1)
stars = (mood > mood.median()).long()
order = torch.randperm(1024)
texts, labels = texts[order], stars[order]


class Reader(nn.Module):
    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(300, 24)
        self.cells = nn.GRU(24, 24, batch_first=True)
        self.head = nn.Linear(24, 2)

    def forward(self, ids):
        return self.head(self.cells(self.words(ids))[0].mean(1))


model = Reader()
optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
loss_fn = nn.CrossEntropyLoss()
for epoch in range(2):
    for x, y in DataLoader(TensorDataset(texts, labels), batch_size=32, shuffle=True):
        optimizer.zero_grad()
        loss = loss_fn(model(x), y)
        loss.backward()
        optimizer.step()
"""

ROLLOUT = """
import torch
from torch import nn
from torch.distributions import Categorical

torch.manual_seed(SEED)
policy = nn.Sequential(nn.Linear(3, 24), nn.Tanh(), nn.Linear(24, 2))
optimizer = torch.optim.Adam(policy.parameters(), lr=1e-2)
for number in range(30):
    states = torch.randn(32, 3)
    with torch.no_grad():
        actions = Categorical(logits=policy(states)).sample()
    rewards = ((actions == (states[:, 0] > 0).long()).float() + 0.1 * states[:, 1]).tolist()
    dones = [t % 8 == 7 for t in range(32)]
    R, returns = 0.0, []
    for r, done in zip(rewards[::-1], dones[::-1]):
        R = r + 0.95 * R * (1 - done)
        returns.insert(0, R)
    returns = torch.tensor(returns)
    loss = -(Categorical(logits=policy(states)).log_prob(actions) * (returns - returns.mean())).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
"""

WARM_UP = (
    IMAGES
    + """
model = nn.Sequential(nn.Flatten(), nn.Linear(64, 48), nn.ReLU(), nn.Linear(48, 10))
optimizer = optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
loader = DataLoader(images(384), 32, shuffle=True)
for epoch in range(4):
    for i, (x, y) in enumerate(loader):
        step = epoch * len(loader) + i
        for group in optimizer.param_groups:
            group["lr"] = 0.05 * min(1.0, (step + 1) / 10)
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
"""
)

RESTARTS = WARM_UP.replace("min(1.0, (step + 1) / 10)", "(1.05 - (step % 12) / 12)")

FORECAST = """
import torch
from torch import nn

torch.manual_seed(SEED)
time = torch.arange(600.0)
series = torch.sin(time / 5) + 0.5 * torch.sin(time / 3) + 0.1 * torch.randn(600)
windows = series.unfold(0, 25, 1)
x, y = windows[:, :24], windows[:, 24:]
model = nn.Sequential(nn.Linear(24, 32), nn.ReLU(), nn.Linear(32, 1))
optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
loss_fn = nn.MSELoss()
for epoch in range(3):
    for rows in torch.randperm(len(x)).split(32):
        optimizer.zero_grad()
        loss = loss_fn(model(x[rows]), y[rows])
        loss.backward()
        optimizer.step()
"""

TRANSLATION = """
import torch
import torch.nn as nn
import torch.nn.functional as F

torch.manual_seed(SEED)
WORDS, LENGTH = 20, 9
source = torch.randint(2, WORDS, (256, LENGTH))
target = torch.cat([torch.ones(256, 1, dtype=torch.long), source.flip(1)], 1)


class Translator(nn.Module):
    def __init__(self, width=32):
        super().__init__()
        self.words, self.places = nn.Embedding(WORDS, width), nn.Parameter(0.1 * torch.randn(LENGTH + 1, width))
        self.body = nn.Transformer(width, 4, 1, 1, 64, dropout=0.0, batch_first=True)
        self.head = nn.Linear(width, WORDS)

    def forward(self, source, target):
        mask = nn.Transformer.generate_square_subsequent_mask(target.shape[1])
        src, tgt = (self.words(t) + self.places[: t.shape[1]] for t in (source, target))
        return self.head(self.body(src, tgt, tgt_mask=mask))


model = Translator()
optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
for epoch in range(3):
    for rows in torch.randperm(256).split(32):
        src, tgt = source[rows], target[rows]
        given, wanted = tgt[:, :-1], tgt[:, 1:]
        optimizer.zero_grad()
        loss = F.cross_entropy(model(src, given).reshape(-1, WORDS), wanted.reshape(-1))
        loss.backward()
        optimizer.step()
"""

DIFFUSION = """
import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(SEED)
T = 50
betas = torch.linspace(1e-3, 0.2, T)
alphas_bar = torch.cumprod(1 - betas, 0)
points = torch.randn(256, 4) @ torch.randn(4, 16) / 2


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.time = nn.Embedding(T, 16)
        self.body = nn.Sequential(nn.Linear(32, 64), nn.SiLU(), nn.Linear(64, 16))

    def forward(self, x, t):
        return self.body(torch.cat([x, self.time(t)], 1))


model = Net()
optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
for epoch in range(4):
    for (x,) in DataLoader(TensorDataset(points), 32, shuffle=True):
        t = torch.randint(0, T, (len(x),))
        noise = torch.randn_like(x)
        noisy = alphas_bar[t, None].sqrt() * x + (1 - alphas_bar[t, None]).sqrt() * noise
        optimizer.zero_grad()
        loss = F.mse_loss(model(noisy, t), noise)
        loss.backward()
        optimizer.step()
"""

STRAIGHT_FLOW = (
    DIFFUSION.replace("t = torch.randint(0, T, (len(x),))", "t = torch.rand(len(x), 1)")
    .replace("alphas_bar[t, None].sqrt() * x + (1 - alphas_bar[t, None]).sqrt() * noise", "(1 - t) * x + t * noise")
    .replace("self.time(t)", "t.expand(-1, 16)")
)

RATINGS = """
import torch
import torch.nn as nn
import torch.nn.functional as F

torch.manual_seed(SEED)
USERS, ITEMS = 200, 150
tastes, kinds = torch.randn(USERS, 3), torch.randn(ITEMS, 3)
user, item = torch.randint(0, USERS, (1600,)), torch.randint(0, ITEMS, (1600,))
rating = 3.5 + 0.6 * (tastes[user] * kinds[item]).sum(1) + 0.2 * torch.randn(1600)


class Factors(nn.Module):
    def __init__(self, width=12):
        super().__init__()
        self.users, self.items = nn.Embedding(USERS, width), nn.Embedding(ITEMS, width)
        self.user_bias, self.item_bias = nn.Embedding(USERS, 1), nn.Embedding(ITEMS, 1)
        self.bias = nn.Parameter(torch.zeros(1))
        nn.init.zeros_(self.user_bias.weight)
        nn.init.zeros_(self.item_bias.weight)

    def forward(self, user, item):
        both = (self.users(user) * self.items(item)).sum(1)
        return both + self.user_bias(user)[:, 0] + self.item_bias(item)[:, 0] + self.bias


model = Factors()
optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
for epoch in range(4):
    for rows in torch.randperm(len(user)).split(64):
        loss = F.mse_loss(model(user[rows], item[rows]), rating[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
"""

CITATIONS = """
import torch
import torch.nn as nn
import torch.nn.functional as F

torch.manual_seed(SEED)
PAPERS, WORDS, FIELDS = 160, 200, 5
field = torch.randint(0, FIELDS, (PAPERS,))
usual = torch.rand(FIELDS, WORDS) ** 6
words = (torch.rand(PAPERS, WORDS) < 0.01 + 0.15 * usual[field]).float()
cites = torch.rand(PAPERS, PAPERS) < torch.where(field[:, None] == field, 0.1, 0.005)
adjacency = (cites | cites.T | torch.eye(PAPERS, dtype=torch.bool)).float()
size = adjacency.sum(1).rsqrt()
adjacency = (size[:, None] * adjacency * size).to_sparse()
known = torch.rand(PAPERS) < 0.3


class GCN(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(WORDS, 16), nn.Linear(16, FIELDS)

    def forward(self, x, adjacency):
        h = torch.relu(torch.sparse.mm(adjacency, self.first(F.dropout(x, 0.5, self.training))))
        return torch.sparse.mm(adjacency, self.second(h))


model = GCN()
optimizer = torch.optim.Adam(model.parameters(), lr=0.01, weight_decay=5e-4)
for epoch in range(60):
    model.train()
    optimizer.zero_grad()
    loss = F.cross_entropy(model(words, adjacency)[known], field[known])
    loss.backward()
    optimizer.step()
"""

TASKS = (
    IMAGES
    + """
class Both(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(64, 48), nn.ReLU())
        self.kind, self.size = nn.Linear(48, 10), nn.Linear(48, 1)

    def forward(self, x):
        h = self.body(x)
        return self.kind(h), self.size(h)


model = Both()
optimizer = optim.Adam(model.parameters(), lr=2e-3)
loader = DataLoader(images(384), 32, shuffle=True)
for epoch in range(3):
    for x, y in loader:
        kinds, sizes = model(x)
        loss = F.cross_entropy(kinds, y)
        loss = loss + F.mse_loss(sizes, x.flatten(1).mean(1, keepdim=True))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
"""
)

SCALED_BY_HAND = (
    IMAGES
    + """
model = nn.Sequential(nn.Flatten(), nn.Linear(64, 48), nn.ReLU(), nn.Linear(48, 10))
optimizer = optim.SGD(model.parameters(), lr=0.1)
loader = DataLoader(images(384), 32, shuffle=True)
scale = 4096.0
for epoch in range(3):
    for x, y in loader:
        optimizer.zero_grad()
        (scale * F.cross_entropy(model(x), y)).backward()
        for p in model.parameters():
            p.grad /= scale
        nn.utils.clip_grad_norm_(model.parameters(), 2.0)
        optimizer.step()
"""
)

WAVES = """
import torch
import torch.nn as nn
import torch.nn.functional as F

torch.manual_seed(SEED)
x = 4 * torch.rand(512, 1) - 2
y = torch.sin(3 * x) + 0.05 * torch.randn(512, 1)
model = nn.Sequential(nn.Linear(1, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 1))
optimizer = torch.optim.Adam(model.parameters(), lr=2e-3, weight_decay=1e-4)
for epoch in range(12):
    for rows in torch.randperm(len(x)).split(32):
        optimizer.zero_grad()
        loss = F.mse_loss(model(x[rows]), y[rows])
        loss.backward()
        optimizer.step()
"""

RARE = """
import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(SEED)
y = (torch.rand(1024) < 0.02).long()
x = torch.randn(1024, 16) + 1.2 * y[:, None] * torch.randn(16)
model = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 2))
counts = torch.bincount(y, minlength=2).float()
weights = counts.sum() / (2 * counts)
optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
for epoch in range(2):
    for a, b in DataLoader(TensorDataset(x, y), 32, shuffle=True):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(a), b, weight=weights)
        loss.backward()
        optimizer.step()
"""

SHADOW = (
    IMAGES
    + """
model = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
optimizer = optim.Adam(model.parameters(), lr=2e-3)
loader, (x_test, y_test) = DataLoader(images(384), 32, shuffle=True), images(128).tensors
shadow, decay = {n: p.detach().clone() for n, p in model.named_parameters()}, 0.9
for epoch in range(4):
    model.train()
    for x, y in loader:
        loss = F.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        for n, p in model.named_parameters():
            shadow[n].mul_(decay).add_(p.detach(), alpha=1 - decay)
kept = {n: p.detach().clone() for n, p in model.named_parameters()}
for n, p in model.named_parameters():
    p.data.copy_(shadow[n])
model.eval()
with torch.no_grad():
    accuracy = (model(x_test).argmax(1) == y_test).float().mean()
for n, p in model.named_parameters():
    p.data.copy_(kept[n])
"""
)

TEXTS = """
import torch
import torch.nn as nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(SEED)
WORDS = 300
lean = 0.7 * torch.randn(WORDS)


def written(count):
    kind = torch.randint(0, 2, (count,))
    chance = torch.stack([(sign * lean).exp() / torch.arange(2.0, WORDS + 2.0) for sign in (-1, 1)])
    return torch.multinomial(chance[kind], 16, replacement=True), kind


def vocabulary(texts):
    words = dict.fromkeys([*texts.flatten().tolist(), *range(WORDS)])
    return torch.tensor(list(words)).argsort()


class Bag(nn.Module):
    def __init__(self):
        super().__init__()
        self.table, self.head = nn.Embedding(WORDS, 16), nn.Linear(16, 2)

    def forward(self, x):
        return self.head(self.table(x).mean(1))


train, test = written(512), written(256)
numbers = vocabulary(train[0])
loader = DataLoader(TensorDataset(numbers[train[0]], train[1]), 32, shuffle=True)
tests = DataLoader(TensorDataset(numbers[test[0]], test[1]), 64)
model, loss_fn = Bag(), nn.CrossEntropyLoss()
optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
for epoch in range(4):
    model.train()
    for x, y in loader:
        optimizer.zero_grad()
        loss_fn(model(x), y).backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        right = sum(int((model(x).argmax(1) == y).sum()) for x, y in tests) / 256
"""

BOXES = """
import torch
import torch.nn as nn

torch.manual_seed(SEED)
SIZE = 12


def drawn(count):
    size = torch.randint(3, 7, (count, 2))
    corner = (torch.rand(count, 2) * (SIZE - size)).long()
    at = torch.arange(SIZE)
    rows, columns = ((at >= corner[:, [i]]) & (at < (corner + size)[:, [i]]) for i in (0, 1))
    image = (rows[:, :, None] & columns[:, None]).float()[:, None]
    return image + 0.1 * torch.randn_like(image), torch.cat([corner + size / 2, size], 1) / SIZE


images, boxes = drawn(512)
model = nn.Sequential(
    nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
    nn.Linear(288, 48), nn.ReLU(), nn.Linear(48, 4),
)
loss_fn = nn.SmoothL1Loss(beta=0.1)
optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
for epoch in range(8):
    for rows in torch.randperm(512).split(32):
        optimizer.zero_grad()
        loss = loss_fn(model(images[rows]), boxes[rows])
        loss.backward()
        optimizer.step()
"""

STUDENT = """
import torch
import torch.nn as nn
import torch.nn.functional as F

torch.manual_seed(SEED)
x = torch.randn(512, 10)
y = (x @ torch.randn(10, 4)).argmax(1)


def net(width):
    return nn.Sequential(nn.Linear(10, width), nn.ReLU(), nn.Linear(width, 4))


teacher, student = net(64), net(16)
first = torch.optim.Adam(teacher.parameters(), lr=1e-2)
for step in range(60):
    rows = torch.randint(512, (64,))
    first.zero_grad()
    F.cross_entropy(teacher(x[rows]), y[rows]).backward()
    first.step()
teacher.eval()
optimizer = torch.optim.SGD(student.parameters(), lr=0.05, momentum=0.9)
for epoch in range(10):
    for rows in torch.randperm(512).split(64):
        with torch.no_grad():
            told = F.softmax(teacher(x[rows]) / 2, 1)
        loss = 4 * F.kl_div(F.log_softmax(student(x[rows]) / 2, 1), told, reduction="batchmean")
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
"""
