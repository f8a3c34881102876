// What runs on the gateway, looked at every two seconds while somebody looks at this page.

const everyMs = 2000;
const status = document.querySelector('#status');

async function get(path) {
  const answer = await fetch(path, { headers: { accept: 'application/json' } });
  if (!answer.ok) throw new Error(`${path} answered ${answer.status}`);
  return answer.json();
}

/** Text only: names and images are whatever their deployer liked. */
function row(cells) {
  const line = document.createElement('tr');
  for (const [index, cell] of cells.entries()) {
    const element = document.createElement(index === 0 ? 'th' : 'td');
    if (index === 0) element.scope = 'row';
    element.textContent = cell;
    line.append(element);
  }
  return line;
}

async function show() {
  const [functions, queues] = await Promise.all([get('../system/functions'), get('../system/queues')]);
  document.querySelector('#functions').replaceChildren(
    ...functions.map((one) => {
      const state = one.message ? `${one.state}: ${one.message}` : one.state;
      const replicas = `${one.availableReplicas}/${one.replicas}`;
      const line = row([`${one.name}.${one.namespace}`, state, replicas, one.invocationCount, one.image]);
      line.classList.toggle('failed', one.state === 'failed');
      return line;
    }),
  );
  document.querySelector('#queues').replaceChildren(
    ...queues
      .filter(({ level }) => level === 'function')
      .map((one) => {
        const waits = one.ready + one.blocked;
        const oldest = waits > 0 ? `${Math.round(one.oldestAgeSeconds)} s` : '';
        return row([one.name, waits, one.delayed, one.leased, one.dead, oldest]);
      }),
  );
  const failed = functions.filter(({ state }) => state === 'failed').length;
  status.textContent = `${functions.length} functions${failed > 0 ? `, ${failed} cannot run` : ''}`;
}

for (;;) {
  if (!document.hidden) await show().catch((error) => (status.textContent = error.message));
  await new Promise((resolve) => setTimeout(resolve, everyMs));
}
