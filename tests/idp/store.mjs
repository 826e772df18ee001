// Where the provider keeps what it issues: in this process, shared by the providers that follow one another when keys are
// rotated, and never forgotten by itself, so that "expired" and "unknown" stay different things.

const everything = new Map();

export class Store {
  constructor(model) {
    this.model = model;
  }

  /** As an administrator who ends all sessions. */
  static forgetGrants() {
    for (const key of everything.keys()) {
      if (!key.startsWith('Client:') && !key.startsWith('Interaction:')) everything.delete(key);
    }
  }

  key(id) {
    return `${this.model}:${id}`;
  }

  async upsert(id, payload) {
    everything.set(this.key(id), payload);
  }

  async find(id) {
    return everything.get(this.key(id));
  }

  async findByUid(uid) {
    return this.first((payload) => payload.uid === uid);
  }

  async findByUserCode(userCode) {
    return this.first((payload) => payload.userCode === userCode);
  }

  first(fits) {
    for (const [key, payload] of everything) {
      if (key.startsWith(`${this.model}:`) && fits(payload)) return payload;
    }
    return undefined;
  }

  async consume(id) {
    const payload = everything.get(this.key(id));
    if (payload) payload.consumed = Math.floor(Date.now() / 1000);
  }

  async destroy(id) {
    everything.delete(this.key(id));
  }

  async revokeByGrantId(grantId) {
    for (const [key, payload] of everything) {
      if (payload.grantId === grantId) everything.delete(key);
    }
  }
}
