import type { Handler } from '../../../plugins/providers/worker/api.ts';
import { notFor } from './event.ts';

interface Issue {
  readonly action: string;
  readonly issue: { readonly number: number; readonly title: string; readonly html_url: string };
  readonly repository: { readonly full_name: string };
}

/** What the team is to be told of an issue: nothing of most. What it answers goes to `notify`. */
export default ((event) => {
  const other = notFor('issues', event);
  if (other) return other;
  const { action, issue, repository } = event.json() as Issue;
  const isUrgent = /\b(crash|data loss|security)\b/i.test(issue.title);
  if (action !== 'opened' || !isUrgent) return undefined;
  return { text: `${repository.full_name}#${issue.number}: ${issue.title}`, url: issue.html_url };
}) satisfies Handler;
